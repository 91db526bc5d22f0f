r"""The result as LaTeX, for a paper: one table, to be used with `\usepackage{booktabs,graphicx}`.

Owns the layout of `report.tex`. Computes nothing. Invariant: names are escaped, so no task or variant can break the
document or command it, nor make the table wider than the text; equal results give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report import verdicts
from harness.report.escapes import latex as escaped
from harness.report.numbers import absolute, percent, probability, relative
from harness.report.result import Result
from harness.report.wording import footnotes, headline, relative_heading

# A table is set in a smaller type and shrunk to the width of the text where it is still wider.
FITTED = (
    r"\footnotesize\setlength{\tabcolsep}{4pt}",
    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
)


def as_latex(result: Result) -> str:
    """Return a `table*` with the pair's scores, gaps and verdicts, its caption and its notes."""
    head = ["Task", "Items", result.reference, result.treated, "Gap, points", relative_heading(result)]
    head = [*map(escaped, head), "Verdict", "$p$", "Smallest"]  # p as the notes say: corrected
    rows = [
        [
            *(escaped(row.title), f"{row.items:,}"),
            *(percent(row.scores[arm].mean) for arm in (result.reference, result.treated)),
            typeset(escaped(absolute(row.gap))),
            typeset(escaped(relative(row.gap))),
            r"\raggedright " + escaped(verdicts.verdict(row.gap, row.judgement)),
            escaped(probability(row.judgement.adjusted if row.judgement else None)),
            verdicts.smallest(row.judgement),
        ]
        for row in result.tasks
    ]
    notes = [*(f"Warning: {line}" for line in verdicts.warnings(result)), *footnotes(result)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table*}",
            r"\centering",
            r"\caption{" + typeset(escaped(headline(result))) + "}",
            r"\label{tab:" + "".join(one if one.isalnum() else "-" for one in _name(result)) + "}",
            *FITTED,
            r"\begin{tabular}{@{}lrrrrrp{9em}rr@{}}",
            r"\toprule",
            _line(head),
            r"\midrule",
            *[_line(row) for row in rows],
            r"\bottomrule",
            r"\end{tabular}}",
            r"\par\smallskip\raggedright\footnotesize",
            *[typeset(escaped(line)) + r"\par" for line in notes],
            r"\end{table*}",
            "",
        ]
    )


def typeset(text: str) -> str:
    """Set signs as signs (a hyphen is shorter than a minus) and tie a per cent sign to its number."""
    return re.sub(r"(?<=\s)-(?=\s)|(?<![\w.-])-(?=\d)", "$-$", text.replace(r" \%", r"~\%"))


def _name(result: Result) -> str:
    return f"{result.study}-{result.selection}" if result.selection else result.study


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
