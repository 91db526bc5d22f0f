"""The tables for papers go through LaTeX and fit the text; skipped where there is no pdflatex."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_report_verdicts import result, task

from harness.report import latex, published, published_views

COMPILER = shutil.which("pdflatex")
DOCUMENT = r"""\documentclass[%s]{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(COMPILER is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_the_tables_compile_and_none_is_wider_than_the_text(tmp_path: Path, columns: str) -> None:
    hostile = r"\input{x} 100 % of $x_1^2$ & #3 ~ {a} <b> |c|"
    rows = [task(title="pocket HumanEval"), task(title=hostile), task(title="a task of a long name " * 4)]
    own = latex.as_latex(result(*rows))
    tables = own + published_views.as_latex(published.load("poison-of-alignment"))
    (tmp_path / "paper.tex").write_text(DOCUMENT % (columns, tables), encoding="utf-8")
    assert COMPILER is not None
    done = subprocess.run(
        [COMPILER, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_signs_of_numbers_are_signs_and_hyphens_stay_hyphens() -> None:
    assert latex.typeset(r"-3.4 \%") == r"$-$3.4~\%"
    assert latex.typeset("-4.2 [-14.5, +6.0]") == "$-$4.2 [$-$14.5, +6.0]"
    assert latex.typeset("gap = clean - aligned, one-sided, 1-3, 5e-49, -") == (
        "gap = clean $-$ aligned, one-sided, 1-3, 5e-49, -"
    )
