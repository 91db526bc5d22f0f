"""What the kernel does for the code sandbox: namespaces, a private file tree, limits, no privileges.

Owns every system call that confines a process, through libc and ctypes. Does not fork, wait or judge.
Invariant: a function either did all that its name says or raised `OSError`; nothing is skipped silently.
The one exception is the system call filter on processors whose numbers are not listed, see `forbid_calls`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import os
import platform
import resource
import sys
import sysconfig

libc = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
)  # fmt: skip
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG, _DUMPABLE, _SECCOMP, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS = 1, 4, 22, 24, 36, 38
# Real root gives the judge and the candidates of every warden a user each, far from those that people use: the
# limit on the number of processes is counted per user, and a user of its own can be killed as a whole.
FIRST_PRIVATE_UID = 0x70000000
PRIVATE_UIDS = 1 << 23  # two for every process id there can be


def _call(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def prctl(option: int, value: int = 0) -> None:
    """Call prctl(2) with one argument."""
    _call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def hide() -> None:
    """Bar processes of the same user from this one's memory, descriptors and /proc entry."""
    prctl(_DUMPABLE, 0)


def die_with_parent() -> None:
    """Be killed when the (single-threaded) parent ends."""
    prctl(_PDEATHSIG, 9)


def be_killed_first() -> None:
    """Where memory runs out, let the kernel take this process or one of its children, not the harness.

    Memory is limited per process; eight of them may together use more than a small machine has.
    """
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    prctl(_SUBREAPER, 1)


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _call("unshare", flags)


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Call mount(2)."""
    encoded = [part.encode() if part is not None else None for part in (source, target, kind)]
    _call("mount", *encoded, ctypes.c_ulong(flags), data.encode())


def private_uid() -> int | None:
    """Return the first of two user ids that nobody else uses; None unless root, with them mapped.

    They follow from the process id: no two live processes (of this process namespace) get the same.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        rows = [[int(field) for field in line.split()] for line in file]
    last = FIRST_PRIVATE_UID + PRIVATE_UIDS
    mapped = any(first <= FIRST_PRIVATE_UID and last <= first + count for first, _, count in rows)
    return FIRST_PRIVATE_UID + 2 * os.getpid() % PRIVATE_UIDS if os.geteuid() == 0 and mapped else None


def counts_tasks_by_namespace() -> bool:
    """Whether the process limit counts a user's tasks per user namespace (Linux 5.14 and later)."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int(minor.split("-")[0])) >= (5, 14)


def leave_namespaces() -> bool:
    """Leave the host's mounts, network, IPC, host name and, from the next fork on, processes.

    True if that took a user namespace (an ordinary user, or root without the capability).
    """
    flags = NEWNS | NEWNET | NEWIPC | NEWUTS | NEWPID
    user, group = os.geteuid(), os.getegid()
    try:
        unshare(flags)
    except PermissionError:
        unshare(flags | NEWUSER)
        prctl(_DUMPABLE, 1)  # else /proc/self belongs to root
        mapping = {"setgroups": "deny", "uid_map": f"1000 {user} 1", "gid_map": f"1000 {group} 1"}
        for name, text in mapping.items():
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return True
    return False


def fork_into_namespace(own: int) -> int:
    """Fork a child that is the first process of a new process namespace; return as fork does.

    `own` is a descriptor of this process' own namespace: without going back to it, the next child would be
    born into the namespace of this one. That saves a process in between, 2 ms of CPU time per program.
    """
    unshare(NEWPID)
    try:
        pid = os.fork()
    except OSError:
        _call("setns", own, NEWPID)
        raise
    if pid:
        _call("setns", own, NEWPID)
    return pid


def enter_tree() -> None:
    """Make a read-only root of the standard library, shared libraries and an empty /tmp; no /proc.

    Site-packages are covered: benchmark packages there hold the tests and the canonical solutions.
    """
    mount("none", "/", None, _REC | _PRIVATE)
    root = "/proc"  # nothing below is bound from here
    mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"]
    own = [os.path.dirname(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    for path in dict.fromkeys([*libraries, *own]):
        if os.path.islink(path) and path in libraries:
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path) and not os.path.isdir(root + path):
            os.makedirs(root + path)
            _bind(path, root + path)
    names = ("python*/site-packages", "python*/dist-packages")
    patterns = [f"{path}/{name}" for path in {*libraries, *own} for name in names]
    for path in {os.path.realpath(found) for pattern in patterns for found in glob.glob(pattern)}:
        if os.path.isdir(root + path):
            mount("tmpfs", root + path, "tmpfs", _NOSUID | _NODEV | _NOEXEC | _RDONLY, "size=4k")
    os.makedirs(root + "/tmp")
    os.makedirs(root + "/dev")
    for device in ("/dev/null", "/dev/urandom"):
        os.close(os.open(root + device, os.O_CREAT | os.O_WRONLY, 0o644))
        mount(device, root + device, None, _BIND)
    mount("none", root, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")


def _bind(source: str, target: str) -> None:
    mount(source, target, None, _BIND | _REC)
    kept = os.statvfs(target).f_flag & (_NOSUID | _NODEV | _NOEXEC | 1024)  # a user namespace may not clear
    kept |= 1 << 21 if os.statvfs(target).f_flag & 4096 else 0  # ST_RELATIME is MS_RELATIME elsewhere
    mount("none", target, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | kept)


def private_directory(size: int) -> None:
    """Give this process (in a mount namespace of its own) a fresh, small, writable working directory."""
    mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"size={size},nr_inodes=1024,mode=1777")
    os.chdir("/tmp")


def limit(*, cpu_seconds: float, memory: int, file: int, processes: int | None) -> None:
    """Set the kernel's limits on this process and those it starts; CPU time is rounded up (a backstop)."""
    cpu = int(cpu_seconds) + 2
    wanted = {
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def count_own_tasks() -> int:
    """Return how many tasks (threads) this user has, as the process limit counts them."""
    total = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.getuid():
                    total += len(os.listdir(f"/proc/{entry.name}/task"))
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                continue
    return total


def forbid_capabilities() -> None:
    """Take all capabilities from the bounding set, for this process' children too; those it has stay."""
    highest = 0
    while libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(highest), *([ctypes.c_ulong(0)] * 3)) == 0:
        highest += 1


_NO_CAPABILITIES = ((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def drop_privileges(uid: int | None) -> None:
    """Give up every capability for good; with `uid` (real root) become that user too."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("capset", *map(ctypes.byref, _NO_CAPABILITIES))
    prctl(_NO_NEW_PRIVS, 1)


class _Filter(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Filter))]


# Name, number on x86_64, number on aarch64.
_DENIED = """
    socket 41 198                ptrace 101 117              process_vm_readv 310 270
    process_vm_writev 311 271    unshare 272 97              setns 308 268
    mount 165 40                 umount2 166 39              pivot_root 155 41
    shmget 29 194                semget 64 190               msgget 68 186
    memfd_create 319 279         memfd_secret 447 447        keyctl 250 219
    add_key 248 217              request_key 249 218         bpf 321 280
    perf_event_open 298 241      userfaultfd 323 282         open_by_handle_at 304 265
    io_uring_setup 425 425       io_uring_enter 426 426      io_uring_register 427 427
    pidfd_getfd 438 438          open_tree 428 428           move_mount 429 429
    fsopen 430 430
"""
_COLUMN = {"x86_64": 1, "aarch64": 2}
_ARCH = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}  # audit number, clone
_CLONE3 = 435
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


@functools.cache
def call_filter() -> _Program | None:
    """Return the system call filter, or None for an unknown processor; building it takes 0.7 ms."""
    machine = platform.machine()
    if machine not in _ARCH or sys.maxsize < 2**32:
        return None
    arch, clone = _ARCH[machine]
    refuse = _ERRNO | errno.EPERM
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    code += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, refuse)]  # the x32 numbers of x86_64
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]  # libc then falls back to clone
    for number in map(int, _DENIED.split()[_COLUMN[machine] :: 3]):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    code += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, 0x7E020000), (_RETURN, 0, 0, refuse)]
    code += [(_RETURN, 0, 0, _ALLOW)]
    return _Program(len(code), (_Filter * len(code))(*(_Filter(*line) for line in code)))


def forbid_calls() -> bool:
    """Refuse sockets, ptrace, namespaces, mounts and memory that no limit counts; False: unknown processor.

    A second wall: with namespaces there is no network and no foreign process to reach even without it.
    """
    program = call_filter()
    if program is None:
        return False
    _call("prctl", _SECCOMP, ctypes.c_ulong(2), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return True
