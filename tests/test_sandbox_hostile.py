"""No program can pass itself, reach beyond its process, or outlive its run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile_programs import HOSTILE, REFUSED

from harness.errors import InputError
from harness.evaluate import sandbox
from harness.evaluate.sandbox import Job, Limits, Outcome, Verdict
from harness.evaluate.sandbox.crew import Crew

# Not true of any function that a hostile program could write without knowing the tests.
SECRET = "def check(candidate):\n    assert candidate(3) == 7919\n    assert candidate(4) == 104729\n"
QUICK = Limits(cpu_seconds=0.5, wall_seconds=2.0)

if sandbox.isolation_level() != "namespaces":
    pytest.skip("this kernel refuses namespaces, and programs do not run without", allow_module_level=True)


def execute(program: str, tests: str = SECRET, limits: Limits = QUICK) -> Outcome:
    return sandbox.run(program, tests, "f", limits)


def processes_named(marker: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(str(path))
        except OSError:
            continue
    return found


def test_there_are_more_than_sixty_hostile_programs() -> None:
    assert len(HOSTILE) >= 60
    assert len(set(HOSTILE.values())) == len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_does_not_pass_and_the_harness_lives(name: str) -> None:
    marker = Limits(cpu_seconds=0.5, wall_seconds=2.0, judge_cpu_seconds=10 + hash(name) % 10**9 / 10**9)
    good = Job(program="def f(x): return {3: 7919, 4: 104729}[x]", tests=SECRET, entry_point="f")
    bad = Job(program=HOSTILE[name], tests=SECRET, entry_point="f")
    first, second = sandbox.run_many([bad, good], marker, workers=1)
    assert not first.passed
    assert second.passed, "a program has reached the next one"
    assert not processes_named(f'"judge_cpu_seconds": {marker.judge_cpu_seconds}')


@pytest.mark.parametrize("deed", REFUSED)
def test_a_program_cannot(deed: str) -> None:
    program = f"def f():\n try:\n  {REFUSED[deed].replace(chr(10), chr(10) + ' ')}\n except (OSError, LookupError,"
    program += " ImportError, ValueError) as e:\n  return 'refused'\n return 'done'"
    outcome = execute(program, "def check(candidate):\n    assert candidate() == 'refused'", Limits())
    assert outcome == Outcome(verdict=Verdict.PASSED, detail="", isolation="namespaces")


def test_no_descriptor_is_left_open_and_an_interrupt_leaves_no_process() -> None:
    before = len(os.listdir("/proc/self/fd"))
    limits = Limits(cpu_seconds=0.5, wall_seconds=2.0, judge_cpu_seconds=10.987654)

    def interrupt(index: int) -> None:
        raise KeyboardInterrupt

    job = Job(program="def f(x): pass", tests=SECRET, entry_point="f")
    with pytest.raises(KeyboardInterrupt):
        sandbox.run_many([job] * 4, limits, 2, interrupt)
    assert not processes_named("10.987654")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def fallback(readable_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No namespaces, and a Python that the unprivileged user of a program may read."""
    monkeypatch.setattr(Crew, "namespaces", False)


@pytest.mark.usefixtures("fallback")
def test_without_namespaces_nothing_runs_unless_that_is_allowed() -> None:
    right = "def f(x): return {3: 7919, 4: 104729}[x]"
    with pytest.raises(InputError, match="not run here"):
        sandbox.run(right, SECRET, "f", QUICK)
    outcome = sandbox.run(right, SECRET, "f", QUICK, allow_unsafe=True)
    assert outcome == Outcome(verdict=Verdict.PASSED, detail="", isolation="rlimits")


# Without namespaces these would reach the machine that runs the tests.
REACHING = {"kills every process it can", "fills the disk"}


@pytest.mark.usefixtures("fallback")
@pytest.mark.parametrize("name", sorted(set(HOSTILE) - REACHING))
def test_without_namespaces_a_hostile_program_still_does_not_pass(name: str) -> None:
    marker = Limits(cpu_seconds=0.5, wall_seconds=2.0, judge_cpu_seconds=20 + hash(name) % 10**9 / 10**9)
    assert not sandbox.run(HOSTILE[name], SECRET, "f", marker, allow_unsafe=True).passed
    assert not processes_named(f'"judge_cpu_seconds": {marker.judge_cpu_seconds}')
