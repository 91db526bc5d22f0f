"""The store: files whole or absent, objects that are what their name says, records that are complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.store import Ledger, Record, Store, objects, stage_key, tree_digest, write_atomic
from harness.store.ledger import stage_payload
from harness.store.objects import Objects


def folder(path: Path, **files: str) -> Path:
    """Write a folder of small files; `a_b` becomes a/b."""
    for name, text in files.items():
        target = path / name.replace("_", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return path


def record(**changed: Any) -> Record:
    """Return a record whose key is that of its payload."""
    payload = stage_payload(kind="train", version=1, settings={"seed": 0}, inputs={"data": "d" * 64})
    return Record(
        **{"key": stage_key(payload), "payload": payload, "output": "a" * 64, "facts": {"steps": 3}, **changed}
    )


def killed(code: str, *arguments: Path) -> None:
    """Run code in a process that is expected to die by SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def objects_in(root: Path) -> list[Path]:
    """Return the folders that a reader would take for objects."""
    return sorted(path for path in (root / "objects").glob("??/*") if len(path.name) == 32)


# --- files -----------------------------------------------------------------------------------------------


def test_an_atomic_write_replaces_the_whole_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    write_atomic(target, "a long first version")
    write_atomic(target, b"short")
    assert target.read_bytes() == b"short"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    assert target.stat().st_mode & 0o777 == 0o644


def test_an_atomic_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "new \ud800")
    (tmp_path / "taken" / "child").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_atomic(tmp_path / "taken", "new")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "taken"]


def test_a_kill_before_the_rename_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "old")
    killed(
        """
        import os, signal, sys
        from pathlib import Path
        from harness.store import write_atomic
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(Path(sys.argv[1]), "new")
        """,
        target,
    )
    assert target.read_text() == "old"


def test_a_tree_digest_sees_names_bytes_and_places_and_nothing_else(tmp_path: Path) -> None:
    plain = tree_digest(folder(tmp_path / "a", x="1", sub_y="2"))
    assert plain == "7a46698a66ef11e01a8f55bd1bf25c79f93ba469e1b6958473f75d86b9102264"
    same = folder(tmp_path / "b", sub_y="2", x="1")
    for cache in (same / "__pycache__", same / "sub" / "__pycache__"):
        cache.mkdir()
        (cache / "x.cpython-311.pyc").write_text("junk")
    os.utime(same / "x", (0, 0))
    (same / "x").chmod(0o600)
    (same / "empty").mkdir()
    assert tree_digest(same) == plain
    for number, changed in enumerate(
        [{"x": "1", "sub_z": "2"}, {"x": "2", "sub_y": "2"}, {"x": "1", "y": "2"}, {"x": "1"}]
    ):
        assert tree_digest(folder(tmp_path / f"other{number}", **changed)) != plain, changed


def test_a_store_below_a_folder_named_pycache_still_hashes_its_files(tmp_path: Path) -> None:
    assert tree_digest(folder(tmp_path / "__pycache__" / "a", x="1")) == tree_digest(folder(tmp_path / "a", x="1"))


# --- objects ---------------------------------------------------------------------------------------------


def test_an_object_is_found_under_the_digest_of_its_bytes(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    made = folder(tmp_path / "work", x="1", sub_y="2")
    expected = tree_digest(made)
    assert objects.put(made) == expected
    assert not made.exists()
    found = Objects(tmp_path / "objects").get(expected)
    assert found is not None
    assert (found / "sub" / "y").read_text() == "2"
    assert objects.get("0" * 64) is None


def test_putting_the_same_bytes_twice_keeps_one_object(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    first = objects.put(folder(tmp_path / "one", x="1"))
    second = Objects(tmp_path / "objects").put(folder(tmp_path / "two", x="1"))
    assert first == second
    assert len(objects_in(tmp_path)) == 1
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "extra", "missing", "renamed"])
def test_a_damaged_object_is_not_believed_and_is_moved_aside(tmp_path: Path, damage: str) -> None:
    key = Objects(tmp_path / "objects").put(folder(tmp_path / "work", x="abc", y="def"))
    place = Objects(tmp_path / "objects").path(key)
    {
        "flip": lambda: (place / "x").write_bytes(b"abb"),
        "cut": lambda: (place / "x").write_bytes(b"ab"),
        "extra": lambda: (place / "z").write_bytes(b""),
        "missing": lambda: (place / "x").unlink(),
        "renamed": lambda: (place / "x").rename(place / "w"),
    }[damage]()
    objects = Objects(tmp_path / "objects")
    assert objects.get(key) is None
    assert objects_in(tmp_path) == []
    assert len(list((tmp_path / "objects").glob("??/*.damaged-*"))) == 1
    assert objects.put(folder(tmp_path / "again", x="abc", y="def")) == key
    assert objects.get(key) is not None


def test_an_object_that_is_damaged_twice_is_moved_aside_twice(tmp_path: Path) -> None:
    for _ in range(2):
        key = Objects(tmp_path / "objects").put(folder(tmp_path / "work", x="1"))
        (Objects(tmp_path / "objects").path(key) / "x").write_text("2")
        assert Objects(tmp_path / "objects").get(key) is None
    assert len(list((tmp_path / "objects").glob("??/*.damaged-*"))) == 2


@pytest.mark.parametrize("moment", ["os.fsync", "Path.rename"])
def test_a_kill_in_the_middle_of_a_put_leaves_no_object(tmp_path: Path, moment: str) -> None:
    made = folder(tmp_path / "work", x="1", y="2")
    expected = tree_digest(made)
    killed(
        f"""
        import os, signal, sys
        from pathlib import Path
        from harness.store.objects import Objects
        {moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Objects(Path(sys.argv[1])).put(Path(sys.argv[2]))
        """,
        tmp_path / "objects",
        made,
    )
    objects = Objects(tmp_path / "objects")
    assert objects_in(tmp_path) == []
    assert objects.get(expected) is None
    assert objects.put(made) == expected
    assert objects.get(expected) is not None


# --- records ---------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_put(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(record(telemetry={"seconds": 1.5}))
    assert ledger.get("train", record().key) == record(telemetry={"seconds": 1.5})
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")] == [
        f"train/{record().key[:32]}.json"
    ]
    assert ledger.get("train", "0" * 64) is None
    assert ledger.get("score", record().key) is None


def test_the_same_record_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    one.put(record(facts={"a": 1, "b": [1.0, None]}))
    two.put(record(facts={"b": [1.0, None], "a": 1}))
    path = one.path("train", record().key)
    assert path.read_bytes() == two.path("train", record().key).read_bytes()
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    "payload",
    [
        {"settings": {"seed": 1}},
        {"settings": {"seed": 0.0}},
        {"settings": {"seed": None}},
        {"settings": {"seed": float("nan")}},
        {"inputs": {"data": "e" * 64}},
        {"version": 2},
        {"schema": 2},
        {"extra": 1},
    ],
)
def test_a_record_whose_payload_does_not_hash_to_its_key_is_refused(tmp_path: Path, payload: dict[str, Any]) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(record())
    path = ledger.path("train", record().key)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "payload": {**raw["payload"], **payload}}))
    assert ledger.get("train", record().key) is None


@pytest.mark.parametrize(
    "damaged",
    [
        *(b"", b"{", b"[]", b"null", b'{"key": "x"}', b"\xff\xfe", b'{"key": 1, "payload": 2, "output": 3, "z": 4}'),
        *(b"[" * 100_000, b'{"key": "x", "payload": {}, "output": ""}'),
    ],
)
def test_a_damaged_record_counts_as_missing(tmp_path: Path, damaged: bytes) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(record())
    ledger.path("train", record().key).write_bytes(damaged)
    assert ledger.get("train", record().key) is None


def test_a_record_under_another_ones_name_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(record())
    other = "f" * 64
    ledger.path("train", record().key).rename(ledger.path("train", other))
    assert ledger.get("train", other) is None


def test_a_kill_while_a_record_is_written_leaves_no_record(tmp_path: Path) -> None:
    killed(
        """
        import os, signal, sys
        from pathlib import Path
        from harness.store import Ledger, Record, stage_key
        from harness.store.ledger import stage_payload
        payload = stage_payload(kind="train", version=1, settings={"seed": 0}, inputs={"data": "d" * 64})
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Ledger(Path(sys.argv[1])).put(Record(key=stage_key(payload), payload=payload, output="a" * 64))
        """,
        tmp_path,
    )
    assert Ledger(tmp_path).get("train", record().key) is None
    assert list(tmp_path.rglob("*.json")) == []
    Ledger(tmp_path).put(record())
    assert Ledger(tmp_path).get("train", record().key) == record()


# --- workspaces ------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from harness.store import Store
with Store(Path(sys.argv[1])).workspace("k" * 64) as work:
    (work / "half").write_text("done")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_compute_the_same_stage_and_a_kill_frees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PATIENCE", 0.2)
    store = Store(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another process is computing this stage"):
            with store.workspace("k" * 64):
                raise AssertionError("both hold the workspace")
        with store.workspace("m" * 64):
            pass  # another stage is free
        other.kill()
        other.wait(timeout=30)
        with store.workspace("k" * 64) as work:
            assert (work / "half").read_text() == "done"


def test_a_stage_that_another_process_is_about_to_finish_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        ends = threading.Timer(0.5, other.stdin.close)
        ends.start()
        with Store(tmp_path).workspace("k" * 64) as work:
            assert list(work.iterdir()) == [], "the other process has finished it"
        ends.join()
        assert other.wait(timeout=30) == 0


def test_a_finished_workspace_is_removed_and_a_failed_one_is_kept_to_resume(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with contextlib.suppress(ZeroDivisionError), store.workspace("k" * 64) as work:
        (work / "half").write_text("done")
        raise ZeroDivisionError
    with store.workspace("k" * 64) as work:
        assert (work / "half").read_text() == "done"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_kill_while_a_finished_workspace_is_removed_leaves_nothing_to_resume_from(tmp_path: Path) -> None:
    """Else a stage that is made again would take what is left, such as the mark of a checkpoint, for the whole."""
    killed(
        """
        import os, shutil, signal, sys
        from pathlib import Path
        from harness.store import Store

        def dies(folder, **_):
            if Path(folder).exists():
                (Path(folder) / "weights").unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        shutil.rmtree = dies
        with Store(Path(sys.argv[1])).workspace("k" * 64) as folder:
            (folder / "weights").write_text("1")
            (folder / "COMPLETE").touch()
        """,
        tmp_path,
    )
    with Store(tmp_path).workspace("k" * 64) as folder:
        assert list(folder.iterdir()) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_a_damaged_object_in_a_store_that_may_only_be_read_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Store(tmp_path).objects.put(folder(tmp_path / "made", text="whole"))
    (Store(tmp_path).objects.path(key) / "text").write_text("changed")

    def refuses(**_: Any) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuses)
    assert Store(tmp_path).objects.get(key) is None
    with pytest.raises(OSError, match="not empty"):
        Store(tmp_path).objects.put(folder(tmp_path / "made", text="whole"))


def test_a_workspace_in_which_nothing_was_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Store(tmp_path).workspace("k" * 64):
        raise ZeroDivisionError
    assert list((tmp_path / "work").iterdir()) == []


def test_a_changed_digit_in_a_stored_score_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    payload = stage_payload(kind="score", version=1, settings={}, inputs={})
    key = stage_key(payload)
    store.ledger.put(Record(key=key, payload=payload, output="0" * 64, facts={"scores": {"acc": [0.0, 1.0]}}))
    assert store.ledger.get("score", key) is not None
    path = store.ledger.path("score", key)
    path.write_text(path.read_text().replace("0.0", "1.0"))
    assert store.ledger.get("score", key) is None
