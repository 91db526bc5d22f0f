"""What `harness regress` prints and writes.

Owns the way from the verdict to stdout, files and the exit code. Invariant: files are checked before anything is run,
and the exit code is that of the verdict, whatever is printed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import layout
from harness.cli import ablate_output
from harness.cli.bars import Bars
from harness.cli.console import console, quiet_stdout
from harness.commands import report
from harness.commands.regress import documents, wording
from harness.commands.regress.regression import Regression, Request, Verdict
from harness.errors import InputError
from harness.report.escapes import visible
from harness.store import write_atomic


def regress(
    request: Request, *, reports: Path, junit: Path | None, summary: Path | None, as_json: bool, dry_run: bool
) -> None:
    """Run or only plan a gate, print and write its verdict, and exit with its code."""
    layout.require_folder("--reports", reports)
    _check_files(junit, summary)
    if not dry_run:
        # Before the trainings, not after them.
        layout.require_writable("--reports", reports)
    with Bars() as bars, quiet_stdout():
        regression = Regression(request, bars, dry=dry_run)
        if not dry_run:
            verdict, result = regression.run()
    if dry_run:
        if regression.unchanged():
            bars.note("The two versions leave the same chats: nothing to train.")
        ablate_output.plan(regression.ablation)
        return
    if result is not None:
        folder = report.write(result, reports, request.ablation.results)
    if junit is not None:
        write_atomic(junit, documents.as_junit(verdict))
    if summary is not None:
        _write_summary(summary, documents.as_markdown(verdict))
    if as_json:
        sys.stdout.write(documents.as_json(verdict))
    else:
        _print(verdict)
    sys.stdout.flush()
    ran, total = len(regression.ablation.runner.ran), len(regression.ablation.stages)
    bars.note(
        f"{ran} of {total} stages ran." + (f"   Report: {folder / 'index.html'}" if result is not None else ""),
        wrap=False,
    )
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)


def _check_files(junit: Path | None, summary: Path | None) -> None:
    for option, path in (("--junit", junit), ("--summary", summary)):
        if path is not None and not _is_page_of_step(path):
            layout.require_file(option, path)
    if junit is not None and summary is not None and junit.resolve() == summary.resolve():
        raise InputError(f"--junit and --summary both name {junit}; give two files.")


def _write_summary(path: Path, text: str) -> None:
    """Write the Markdown: whole in place of an older one, but added to the page that GitHub keeps for a job's step."""
    if _is_page_of_step(path):
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        return
    write_atomic(path, text)


def _is_page_of_step(path: Path) -> bool:
    page = os.environ.get("GITHUB_STEP_SUMMARY", "")
    return bool(page) and Path(page).resolve() == path.resolve()


def _print(verdict: Verdict) -> None:
    out = console()
    out.print(Text(visible(wording.headline(verdict)), style="bold"))
    if not verdict.same:
        table = Table(title=Text(visible(wording.title(verdict))), title_justify="left", pad_edge=False)
        for place, name in enumerate(wording.HEADER):
            table.add_column(name, no_wrap=place > 0, overflow="fold")
        for line in verdict.lines:
            table.add_row(*(Text(visible(cell)) for cell in wording.row(line)))
        out.print(table)
    for line in verdict.lines:
        first, *rest = wording.reasons(line, verdict) or [""]
        if first:
            out.print(Text(visible(first), style="bold"))
        for sentence in rest:
            out.print(Padding(Text(visible(sentence)), (0, 0, 0, 2), expand=False))
        if command := wording.command(line):
            # Not wrapped: it is there to be copied.
            out.print(Text(f"  See them: {visible(command)}"), soft_wrap=True)
    for note in wording.notes(verdict):
        out.print(Text(visible(note)))
