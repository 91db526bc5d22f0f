"""Why a stage is not cached, and where a record came from: the use cases behind `harness explain`.

differences (two payloads, field by field), records (a ledger read as a whole), chain (from a differing field to its
first cause), wording (causes in sentences), lineage (from a record to its sources), stages (a stage of a study).
Nothing is run or written. Invariant: what is said follows from the ledger and the plan; no object has to be there.
"""

from harness.commands.explain.chain import Cause, Past, Step, causes
from harness.commands.explain.differences import Absent, Difference, differences, flatten
from harness.commands.explain.lineage import Ancestor, ancestry
from harness.commands.explain.records import Records, Use
from harness.commands.explain.stages import Explanation, explain

__all__ = [
    "Absent",
    "Ancestor",
    "Cause",
    "Difference",
    "Explanation",
    "Past",
    "Records",
    "Step",
    "Use",
    "ancestry",
    "causes",
    "differences",
    "explain",
    "flatten",
]
