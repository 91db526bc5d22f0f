"""Programs are executed once each, in order, under the settings around them, and their log says how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.errors import InputError
from harness.evaluate import programs, sandbox
from harness.evaluate.sandbox import Job, Limits, Outcome, Verdict
from harness.evaluate.sandbox.crew import Crew

if sandbox.isolation_level() != "namespaces":
    pytest.skip("this kernel refuses namespaces, and programs do not run without", allow_module_level=True)

TESTS = "\n\ndef check(candidate):\n    assert candidate(2) == 4\n"
RIGHT, WRONG = "    return x * x\n", "    return x\n"


def doc(name: str) -> dict[str, str]:
    return {"prompt": f"def {name}(x):\n", "test": TESTS, "entry_point": name}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Every job that reached the sandbox."""
    seen: list[Job] = []

    def spy(jobs: Sequence[Job], *args: Any, **options: Any) -> list[Outcome]:
        seen.extend(jobs)
        return sandbox.run_many(jobs, *args, **options)

    monkeypatch.setattr(programs, "run_many", spy)
    return seen


def test_n_samples_of_an_item_are_scored_in_their_order_and_equal_programs_run_once(executed: list[Job]) -> None:
    with programs.execution(workers=2) as log:
        built = programs.build_predictions([[RIGHT, WRONG, RIGHT, "    pass"], [WRONG, RIGHT]], [doc("f"), doc("g")])
        assert built[0] == ["def f(x):\n" + text for text in (RIGHT, WRONG, RIGHT, "    pass")]
        scores = [programs.pass_at_1([f"{TESTS}\ncheck({name})"], [own]) for name, own in zip("fg", built, strict=True)]
        assert scores == [0.5, 0.5]
        one = [programs.pass_at_1([f"{TESTS}\ncheck(f)"], [[program]]) for program in built[0]]
        assert one == [1.0, 0.0, 1.0, 0.0]
    assert len(executed) == len(set(executed)) == 5
    assert log.verdicts == {Verdict.PASSED: 2, Verdict.FAILED: 3}
    assert log.isolation == "namespaces"


@pytest.mark.parametrize(
    "text", ["\ud800", "    return '\ud800'", "\0", "    return x * x\0", "", "\r", "\ufeff", "é" * 9]
)
def test_a_text_that_is_no_program_fails_and_does_not_end_the_run(text: str) -> None:
    with programs.execution() as log:
        built = programs.build_predictions([[text], [RIGHT]], [doc("f"), doc("g")])
        assert programs.pass_at_1([f"{TESTS}\ncheck(f)"], [built[0]]) == 0.0
        assert programs.pass_at_1([f"{TESTS}\ncheck(g)"], [built[1]]) == 1.0
    assert log.verdicts == {Verdict.PASSED: 1, Verdict.FAILED: 1}


def test_a_text_of_megabytes_is_a_program_as_any_other() -> None:
    long = "    x += 0  # " + "x" * (5 << 20) + "\n" + RIGHT
    assert programs.passed([Job(program="def f(x):\n" + long, tests=TESTS, entry_point="f")]) == [True]


def test_settings_hold_within_their_block_and_outcomes_are_forgotten_after_it(executed: list[Job]) -> None:
    job = Job(program="def f(x):\n while True: pass", tests=TESTS, entry_point="f")
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        with programs.execution(
            limits=Limits(cpu_seconds=0.1), on_done=lambda done, total: seen.append((done, total))
        ) as log:
            assert programs.passed([job, job]) == [False, False]
        assert log.outcomes[job].verdict is Verdict.TIMEOUT
    assert seen == [(1, 1), (1, 1)]
    assert executed == [job, job]


def test_nothing_executed_has_no_level_of_isolation() -> None:
    with programs.execution() as log:
        assert programs.passed([]) == []
    assert (log.isolation, log.verdicts) == (None, {})


@pytest.mark.usefixtures("readable_python")
def test_unsafe_execution_is_refused_unless_allowed_and_the_log_carries_the_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Crew, "namespaces", False)
    with programs.execution() as log, pytest.raises(InputError, match="not run here"):
        programs.build_predictions([[RIGHT]], [doc("f")])
    assert log.isolation is None
    with programs.execution(allow_unsafe=True) as log:
        programs.build_predictions([[RIGHT]], [doc("f")])
    assert log.isolation == "rlimits"
    with programs.execution(), pytest.raises(InputError, match="not run here"):
        programs.build_predictions([[RIGHT]], [doc("f")])
