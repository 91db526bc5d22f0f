"""The use case behind `harness report`: views written again from the store alone.

Owns which runs are shown and which files a report is made of. Runs nothing. Invariant: the files depend on the run and
its records alone, so that they are byte for byte those that `harness ablate` wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import InputError, nearest
from harness.report import documents, items, join, latex, markdown, page
from harness.report.page import outcomes, safety, texts
from harness.report.result import Result
from harness.store import Runs, Store, write_atomic


def stored(results: Path, *, study: str = "") -> Iterator[Result]:
    """Yield the results of all runs of a store, or of one study's, in order of their names.

    Args:
        study: a study, or one run of it such as "pocket/whole"; empty = all. Other runs are not read.

    Raises:
        InputError: no run, a run or record that was changed or is gone, or one of another version.
    """
    store, runs = Store(results), Runs(results)
    names = runs.names()
    chosen = [name for name in names if study in ("", name, name.partition("/")[0])]
    if not chosen:
        known = {name.partition("/")[0] for name in names} | (set(names) if "/" in study else set())
        raise InputError(
            f"No run of study '{study}' in {runs.root}.{nearest(study, known)} `harness ablate` makes one."
            if study
            else f"There are no runs in {runs.root}. `harness ablate` makes one."
        )
    for name in chosen:
        run = runs.read(runs.named(name))
        yield join.again(run, runs.records(run, store.ledger))


def write(result: Result, reports: Path, results: Path, *, sections: Sequence[page.Section] = ()) -> Path:
    """Write all files of a report; return their folder.

    Args:
        results: the store that holds the run of the result; prompts and answers are read from its objects.
        sections: further parts of the page.
    """
    folder = reports / result.study / result.selection
    write_atomic(folder / "report.md", markdown.as_markdown(result))
    write_atomic(folder / "report.csv", documents.as_csv(result))
    write_atomic(folder / "report.tex", latex.as_latex(result))
    write_atomic(folder / "report.json", documents.as_json(result))
    write_atomic(folder / "items.parquet", items.as_parquet(result))
    write_atomic(folder / "index.html", _page(result, results, sections))
    return folder


def _page(result: Result, results: Path, sections: Sequence[page.Section]) -> str:
    store, runs = Store(results), Runs(results)
    run = runs.read(runs.path(result.study, result.selection))
    records = runs.records(run, store.ledger)
    return page.as_html(
        result,
        texts=texts.load(outcomes.outcomes(result), records, store.objects),
        sections=[*([own] if (own := safety.section(result)) else []), *sections],
    )
