"""The content-addressed store: objects by digest of their bytes, records by key of their question."""

from harness.store.files import sha256_of, tree_digest, write_atomic
from harness.store.ledger import Ledger, Record, stage_key
from harness.store.objects import Objects, Store
from harness.store.runs import Run, Runs

__all__ = [
    "Ledger",
    "Objects",
    "Record",
    "Run",
    "Runs",
    "Store",
    "sha256_of",
    "stage_key",
    "tree_digest",
    "write_atomic",
]
