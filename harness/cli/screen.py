"""How results reach a terminal of any width.

Owns the breaking of lines, titles of tables, and what becomes of a table that is wider than the terminal. Computes
nothing. Invariant: no number and no word of up to `LONGEST` characters is broken
or lost, whatever the width.
"""

from __future__ import annotations

import copy
import textwrap
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

# A longer word, such as an address or a digest, may be broken rather than turn a table into a list.
LONGEST = 30
# Keeps a per cent sign with its number while lines are broken; never printed.
_TIE = "\u00a0"


class Screen(Console):
    """The console for results: the title of a table is as wide as the console, and a closed pipe is no failure."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does, but break texts between words alone, and show what is too wide as a list."""
        for one in objects:
            if isinstance(one, Table):
                self._print_table(one, **options)
            elif isinstance(one, str) and not options:
                super().print(broken(self._text(one), self.width))
            elif isinstance(one, Text) and not options:
                super().print(broken(one, self.width))
            else:
                super().print(one, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `main`, as for what is written without a console."""
        raise BrokenPipeError

    def _print_table(self, table: Table, **options: Any) -> None:
        if table.title is not None:
            title = self._text(table.title)
            title.style = title.style or "italic"
            super().print(broken(title, self.width))
            table = copy.copy(table)
            table.title = None
        if _plain(table) and table.columns and not self._fit(table):
            for text in self._listed(table):
                super().print(text)
        else:
            super().print(table, **options)

    def _fit(self, table: Table) -> bool:
        """Give a table's columns widths in which no word is broken; return whether there are any.

        The widest one gives way first, as with rich, which goes on to less than a word.
        """
        _, right, _, left = table.padding
        beside = (len(table.columns) - 1) * (left + 1 + right) + 2 * table.show_edge
        ranges = [self._widths(column, headed=table.show_header) for column in table.columns]
        widths = [most for _, most in ranges]
        while sum(widths) + beside > self.width:
            shrinking = [place for place, (least, _) in enumerate(ranges) if widths[place] > least]
            if not shrinking:
                return False
            widths[max(shrinking, key=lambda place: widths[place])] -= 1
        if any(width < most for width, (_, most) in zip(widths, ranges, strict=True)):
            for column, width in zip(table.columns, widths, strict=True):
                column.width = width
        return True

    def _widths(self, column: Column, *, headed: bool) -> tuple[int, int]:
        """Return the least and the largest width of a column: its longest word and its longest line."""
        if column.width is not None:
            return column.width, column.width
        texts = [self._text(cell).plain for cell in (*([column.header] if headed else []), *column.cells)]
        most = max((cell_len(line) for text in texts for line in text.split("\n")), default=0)
        most = min(most, column.max_width or most)
        if column.no_wrap:
            return most, most
        least = max((cell_len(word) for text in texts for word in text.split()), default=0)
        return min(least, LONGEST, most), most

    def _listed(self, table: Table) -> list[Text]:
        """Return a table's rows one below the other: the first cell, then the name and the text of each further one."""
        names = [self._text(column.header).plain.replace("\n", " ") for column in table.columns]
        lines = []
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            first, *rest = (self._text(cell).plain for cell in cells)
            lines.append(broken(Text(" ".join(first.split()) or names[0], style="bold"), self.width))
            for name, cell in zip(names[1:], rest, strict=True):
                top, *below = cell.rstrip().split("\n")
                if cell.strip():
                    lines.append(broken(Text(f"  {name}: {top}" if name else f"  {top}"), self.width, "    "))
                    lines += [broken(Text(f"    {line}"), self.width, "    ") for line in below]
        return lines

    def _text(self, said: Any) -> Text:
        return self.render_str(said, highlight=False) if isinstance(said, str) else said.copy()


def broken(text: Text, width: int, indent: str = "") -> Text:
    """Return a text whose lines have at most so many columns, none with a blank at its end.

    A number and its per cent sign stay together. A text of several styles, or with characters that are wider than one
    column, is left to rich.

    Args:
        indent: what further lines begin with.
    """
    plain = text.plain
    if text.spans or _TIE in plain or text.cell_len != len(plain):
        return text
    lines = [
        part.replace(_TIE, " ")
        for line in plain.split("\n")
        for part in textwrap.wrap(
            line.replace(" %", f"{_TIE}%"),
            max(width, 10),
            subsequent_indent=indent,
            expand_tabs=False,
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        or [""]
    ]
    return Text("\n".join(lines), style=text.style)


def _plain(table: Table) -> bool:
    """Whether every cell of a table is a text."""
    return all(isinstance(cell, str | Text) for column in table.columns for cell in column.cells)
