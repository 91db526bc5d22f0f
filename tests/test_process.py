"""Worker processes: what they say arrives, and nothing of them is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.errors import WorkerError
from harness.process import Worker

# Starts a child in its own process group, says which, and ends.
PARENT = """
import subprocess, sys
from harness.process import send
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
send({"event": "child", "pid": child.pid})
sys.exit(%d)
"""

# Forks a child, which has the channel of messages too, and ends.
FORKS = """
import os, time
from harness.process import send
child = os.fork()
if child == 0:
    time.sleep(600)
send({"event": "child", "pid": child})
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_a_worker_left_behind_ends_with_the_workers_context(tmp_path: Path, code: int) -> None:
    (tmp_path / "leaves_a_child.py").write_text(PARENT % code)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    seen = []
    try:
        with Worker(
            module="leaves_a_child", arguments=[], environments=[{"PYTHONPATH": path}], log=tmp_path / "log"
        ) as worker:
            seen += worker.messages()
    except WorkerError:
        assert code == 1
    [message] = seen
    until = time.monotonic() + 10
    while alive(message["pid"]) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(message["pid"])


def test_the_messages_end_with_the_worker_also_where_a_child_of_it_holds_the_channel_open(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    with Worker(module="forks", arguments=[], environments=[{"PYTHONPATH": path}], log=tmp_path / "log") as worker:
        [message] = worker.messages()
        assert alive(message["pid"])
