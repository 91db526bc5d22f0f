"""Tasks as lm-eval reads them: items with their prompts out, scores of answers back in.

Owns the names that the rest of the program may use; `loading` is the only module that imports lm_eval. Does not
generate. Invariant: prompts and scores are those of lm-eval's code on the task's YAML; nothing is re-implemented here.
"""

from harness.evaluate.tasks.items import Item, items, rendered, shares, texts
from harness.evaluate.tasks.scoring import aggregate, scores

__all__ = ["Item", "aggregate", "items", "rendered", "scores", "shares", "texts"]
