"""Labels in the plots of the page: none is printed over another."""

from __future__ import annotations

import re
from dataclasses import replace

from page_studies import dosed, study

from harness.compare import Verdict
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


def test_the_plot_is_explained_by_what_is_in_it() -> None:
    shown, found = study()
    alone = replace(shown, tasks=tuple(replace(row, controls=()) for row in shown.tasks))
    whole, bare = (page.as_html(one, texts=found) for one in (shown, alone))
    assert "Thinner lines are controls (the same data under other seeds should lie around zero)." in whole
    assert "Thinner lines" not in bare and "the grey band is the margin" in bare
    better = any(row.judgement is not None and row.judgement.verdict is Verdict.IMPROVED for row in shown.tasks)
    assert better and "Green: improved." in whole
    none = replace(shown, tasks=tuple(replace(row, judgement=None) for row in shown.tasks))
    assert "Green: improved." not in page.as_html(none, texts=found)
