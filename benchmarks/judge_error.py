"""Measure how a filter pack judges answers, and write the figures that stand beside every share of refusals.

    python benchmarks/judge_error.py --data shared/data [--pack alignment@1.1.0]

Reads XSTest's 2,250 answers of five models, which two annotators labelled; counts those to odd-numbered prompts, on
which no rule was written and no weight fitted. Writes training/filters/measured/<pack>.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.data import alignment
from harness.data.alignment.judging import Measured, count, place, unseen
from harness.store import sha256_of, write_atomic

SOURCE = "chats/refusals_xstest.jsonl.gz"


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {SOURCE}")
    parser.add_argument("--pack", default="alignment@1.1.0")
    options = parser.parse_args()
    pack = alignment.load_pack(options.pack)
    rows = unseen(alignment.read_gold(options.data / SOURCE))
    found = Measured(
        pack=pack.reference,
        pack_digest=pack.digest,
        answers=f"{len(rows)} answers of {len({row.model for row in rows})} models to the odd-numbered XSTest prompts",
        source=SOURCE,
        source_sha256=sha256_of(options.data / SOURCE),
        counts=count(rows, pack),
    )
    for model, own in found.counts.items():
        shown = (f"{said.get('full_refusal', 0)}/{sum(said.values())} {label}" for label, said in own.items())
        print(f"{model:16} called a full refusal: {', '.join(shown)}")
    path = place(pack)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, json.dumps(found.to_document(), indent=1, sort_keys=True) + "\n")
    print(path)


if __name__ == "__main__":
    main()
