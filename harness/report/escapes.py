r"""What a text becomes before it stands in a terminal, in Markdown or in LaTeX.

Owns the escapes that several views share; those of HTML are in `page.shell`, those of XML in `commands.regress`.
Invariant: no name of an arm, a task or an item can command a terminal, add a column to a table or run a command of
LaTeX.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{one: f"\\{one}" for one in "#$%&_"},
}


def visible(text: str) -> str:
    """Return a text with escapes for what would command the terminal (ESC, right-to-left marks) or break its output."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def latex(text: str) -> str:
    """Return a text in which no character has a meaning of its own to LaTeX."""
    plain = " ".join(text.split())
    return "".join(_LATEX.get(one, one) for one in plain if one.isprintable())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> list[str]:
    """Return the lines of a table; of the columns in `numbers` the cells stand to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(header))]
    return [_line(header), _line(rule), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
