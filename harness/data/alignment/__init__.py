"""The alignment filter: which assistant turns refuse, disclaim or moralise, and how well that is known.

pack (the versioned file; packfile: its format, compiling: its patterns) -> reading, gate, rules, structure, classifier,
languages -> engine (labels); gold -> audit, diff (how good, what changed); records (labels as rows). Labels are written
beside turns; nothing is dropped here (see `harness.data.variants`).
"""

from harness.data.alignment.audit import Audit, measure
from harness.data.alignment.compiling import compile_rules
from harness.data.alignment.diff import Diff, compare
from harness.data.alignment.engine import judge, label, label_turn
from harness.data.alignment.gold import Gold, read_gold
from harness.data.alignment.judging import Measured, measured
from harness.data.alignment.pack import Pack, load_pack
from harness.data.alignment.packfile import PackFile
from harness.data.alignment.records import records
from harness.data.alignment.rules import Found

__all__ = [
    "Audit",
    "Diff",
    "Found",
    "Gold",
    "Measured",
    "Pack",
    "PackFile",
    "compare",
    "compile_rules",
    "judge",
    "label",
    "label_turn",
    "load_pack",
    "measure",
    "measured",
    "read_gold",
    "records",
]
