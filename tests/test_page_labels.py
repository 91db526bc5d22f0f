"""Labels in the plots of the page: none is printed over another."""

from __future__ import annotations

import re
from dataclasses import replace

from page_studies import dosed, study

from harness.report import page
from harness.report.page import plots


def test_labels_of_lines_that_end_together_stand_apart_in_their_order() -> None:
    assert plots.apart([50.0, 20.0, 50.5, 51.0], 2.0) == [50.0, 20.0, 52.0, 54.0]
    assert plots.apart([], 2.0) == []
    shown, texts = study((("one", 40, 1), ("two", 40, 1)), gaps=(0.0, 0.0))
    same = replace(shown, tasks=tuple(replace(row, scores=shown.tasks[0].scores) for row in shown.tasks))
    html = page.as_html(dosed(same, aligned=1.0, clean=0.25), texts=texts)
    drawn = html[html.index('aria-labelledby="plot-doses"') :]
    heights = [float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', drawn)[1]) for name in ("ONE", "TWO")]  # type: ignore[index]
    assert heights[0] - heights[1] > 11
