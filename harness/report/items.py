"""Every item's score of every checkpoint as one table, for pandas and whoever wants to ask more.

Owns the columns of `items.parquet`. Computes nothing. Invariant: one row per (variant, seed, task, item,
metric); equal results give equal bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from harness.report.result import Result

if TYPE_CHECKING:
    import pandas as pd


def frame(result: Result) -> pd.DataFrame:
    """Return the table.

    Columns: study, variant, seed (missing for the base), task, item, cluster, subtask, prompt (hash of the full
    request), metric, score.
    """
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "study": result.study,
                "variant": one.arm,
                "seed": pd.array([one.seed] * len(one.items), dtype="Int64"),
                "task": one.task,
                "item": list(one.items),
                "cluster": list(one.clusters),
                "subtask": list(one.subtasks),
                "prompt": list(one.prompts),
                "metric": metric,
                "score": list(values),
            }
        )
        for one in result.scores
        for metric, values in sorted(one.metrics.items())
    ]
    return pd.concat(parts, ignore_index=True)


def as_parquet(result: Result) -> bytes:
    """Return the table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    frame(result).to_parquet(sink, index=False)
    return sink.getvalue()
