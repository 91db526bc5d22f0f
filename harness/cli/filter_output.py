"""What `harness filter` prints and writes.

Owns the way from the alignment filter to stdout and to a file of labels. Invariant: with --format json stdout is one
JSON document and nothing else; a file of labels appears whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.bars import Bars
from harness.cli.console import console, print_json
from harness.data.alignment import Audit, Diff, Found, Gold, compare, load_pack, measure, read_gold, records
from harness.data.alignment.audit import Figures, Rate
from harness.data.alignment.diff import Change, Side
from harness.data.alignment.records import excerpt
from harness.data.reading import Reading, read
from harness.errors import InputError, nearest
from harness.layout import golden, newest
from harness.nouns import Chat, Label
from harness.report.escapes import visible
from harness.study.model import ChatFormat, Source, SourceKind

#: The packs differ on a gold case to the worse: an exit code of its own, apart from errors.
REGRESSED = 10


def label(input: Path, *, pack: str, output: Path | None, format: str, keep_truncated: bool) -> None:
    """Write one row per assistant turn."""
    chosen = load_pack(pack or newest("filters", "alignment"))
    counts: Counter[str] = Counter()
    with Bars() as bars:
        reading = _reading(input, format, keep_truncated)
        with _sink(output) as sink:
            for row in records(_watched(reading.chats, bars), chosen):
                counts[row["label"]] += 1
                sink.write(json.dumps(row, sort_keys=True) + "\n")
        if reading.cut:
            bars.note(reading.cut)
    found = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
    bars.note(f"{chosen.reference}: {sum(counts.values()):,} assistant turns: {found}.")
    if output is not None:
        bars.note(f"Labels: {output}")


def audit(gold: Path, *, pack: str, as_json: bool, misses: int) -> None:
    """Print how a pack does against gold."""
    chosen = load_pack(pack or newest("filters", "alignment"))
    with Bars() as bars:
        bar = bars.bar("labelling the gold cases")
        found = measure(read_gold(gold), chosen)
        bar.close()
    if as_json:
        print_json(_audit(found))
        return
    out = console()
    title = f"{found.pack} against {found.rows:,} labelled answers"
    out.print(_measures(title, found))
    if found.models:
        out.print(_by_model(found))
    out.print(_confusion(found))
    if misses and found.misses:
        worst = [(miss.gold, miss.found) for miss in found.misses[:misses]]
        out.print(_misses(f"worst {len(worst)} of {found.rows - found.right.count} misses", worst))


def diff(
    before: str,
    after: str,
    input: Path,
    *,
    gold: Path | None,
    format: str,
    as_json: bool,
    samples: int,
    keep_truncated: bool,
) -> None:
    """Print what a pack changes; exit with `REGRESSED` when a gold case gets worse."""
    packs = load_pack(before), load_pack(after)
    golden_set = gold or golden()
    cases = read_gold(golden_set) if golden_set else []
    with Bars() as bars:
        reading = _reading(input, format, keep_truncated)
        found = compare(*packs, _watched(reading.chats, bars), gold=cases)
        if reading.cut:
            bars.note(reading.cut)
    if as_json:
        print_json({"gold": len(cases), **_diff(found)})
    else:
        _print_diff(found, len(cases), samples)
    if found.regressions:
        raise typer.Exit(REGRESSED)


def _reading(path: Path, format: str, keep_truncated: bool) -> Reading:
    known = [one.value for one in ChatFormat]
    if format not in known:
        raise InputError(f"--input-format {format}: there is no such format.{nearest(format, known)}")
    if not path.exists():
        raise InputError(f"There is no file {path}.{_nearest(path)} Give the path of a file of chats.")
    source = Source(
        name=path.name.partition(".")[0].replace(" ", "_") or "input",
        kind=SourceKind.FILE,
        path=str(path),
        format=ChatFormat(format),
        on_truncated="keep" if keep_truncated else "error",
        on_duplicate_id="number",
    )
    return read(source, data_dir=None, study_file=Path.cwd() / "study.toml", data_seed=0)


def _nearest(path: Path) -> str:
    """Return a sentence that suggests a file beside it of nearly that name; empty where none is near."""
    beside = [one.name for one in path.parent.iterdir() if one.is_file()] if path.parent.is_dir() else []
    found = nearest(path.name, beside)
    return found if "Did you mean" in found else ""


def _watched(chats: Iterable[Chat], bars: Bars) -> Iterator[Chat]:
    bar = bars.bar("labelling chats")
    for number, chat in enumerate(chats, start=1):
        if number % 200 == 0:
            bar.update(number, 0, f"{number:,} chats")
        yield chat
    bar.close()


@contextmanager
def _sink(output: Path | None) -> Iterator[IO[str]]:
    """Yield what labels are written to; a file is renamed into place at the end."""
    if output is None:
        yield sys.stdout
        return
    if output.exists() and not output.is_file() and not output.is_dir():
        with output.open("w", encoding="utf-8") as device:  # a pipe or a terminal, which nothing may replace
            yield device
        return
    if output.is_dir() or not output.parent.is_dir():
        raise InputError(f"--output {output} cannot be written: give a file in a folder that exists.")
    output = output.resolve()  # what a link points at is written, not the link
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, output)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and Path(error.filename or output).parent == output.parent:
            # A full disk names no file, and a folder that cannot be written the temporary one.
            raise OSError(error.errno, error.strerror, str(output)) from error
        raise


def _umask() -> int:
    """Return the process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table


def _percent(one: Rate) -> str:
    return f"{100 * one.value:.1f}\n{100 * one.low:.1f}-{100 * one.high:.1f}" if one.of else "-"


def _row(name: str, one: Figures) -> tuple[str, ...]:
    f1 = "-" if math.isnan(one.f1.value) else f"{one.f1.value:.3f}\n{one.f1.low:.3f}-{one.f1.high:.3f}"
    rates = (_percent(one.precision), _percent(one.recall), f1, _percent(one.false_positives))
    return name, f"{one.positive:,}", *rates


_MEASURES = ("people", "precision", "recall", "F1", "false positives")


def _measures(title: str, found: Audit) -> Table:
    table = _table(f"{title}; per cent, 95 % interval below", "label", *_MEASURES)
    table.add_row(*_row("full refusal or none", found.refusals))
    table.add_row(*_row("any label or none", found.flagged), end_section=True)
    for name, one in found.labels.items():
        table.add_row(*_row(name.value.replace("_", " "), one))
    return table


def _by_model(found: Audit) -> Table:
    table = _table("full refusals against plain answers, by answering model", "model", *_MEASURES)
    for name, one in found.models.items():
        first, *rest = _row(name, one)
        table.add_row(Text(_shown(first)), *rest)
    return table


def _confusion(found: Audit) -> Table:
    rows = sorted({truth for truth, _ in found.confusion})
    columns = sorted({said for _, said in found.confusion})
    table = _table("people's label (rows) against the pack's", "", *(_word(one) for one in columns))
    table.padding = 0  # all seven labels side by side in 80 columns
    for truth in rows:
        table.add_row(_word(truth), *(str(found.confusion.get((truth, said), 0)) for said in columns))
    return table


def _word(label: Label) -> str:
    """Return the first word of a label, by which no two are alike."""
    return label.value.partition("_")[0]


def _misses(title: str, misses: Iterable[tuple[Gold, Found]]) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False, show_lines=True)
    for name in ("people: pack (rule)", "user", "answer"):
        table.add_column(name, overflow="fold", ratio=1 if name != "answer" else 2)
    for gold, found in misses:
        said = f"{gold.label.value}: {found.label.value}" + (f" ({found.rule})" if found.rule else "")
        table.add_row(Text(f"{_shown(gold.id)}\n{said}"), Text(_shown(gold.user)), Text(_shown(gold.text)))
    return table


def _print_diff(found: Diff, cases: int, samples: int) -> None:
    out = console()
    changed = sum(found.labels.values())
    out.print(
        Text(
            f"{found.before} -> {found.after}: {found.turns:,} assistant turns of {found.chats:,} chats; {changed:,}"
            f" turns have another label, {len(found.added.chats):,} chats are flagged now,"
            f" {len(found.removed.chats):,} no longer."
        )
    )
    table = _table("turns by label", "label", "before", "after")
    for label, (old, new) in found.counts.items():
        if old or new:
            table.add_row(label.value, f"{old:,}", f"{new:,}")
    out.print(table)
    for title, side in (("flagged now", found.added), ("no longer flagged", found.removed)):
        if side.chats:
            out.print(_side(title, side))
            _samples(out, side, samples)
    if not cases:
        out.print(Text("No gold cases: give --gold FILE to see whether the change is for the better."))
        return
    out.print(Text(f"Of {cases} gold cases {found.gained} became right and {len(found.regressions)} wrong."))
    if found.regressions:
        out.print(_misses("regressions", [(one.gold, one.after) for one in found.regressions]))


def _side(title: str, side: Side) -> Table:
    table = _table(f"{title}: chats by rule", "rule", "chats")
    for rule, count in side.rules.items():
        table.add_row(Text(rule), f"{count:,}")
    return table


def _samples(out: Console, side: Side, count: int) -> None:
    for rule, changes in side.samples.items() if count else ():
        out.print(Text(rule, style="bold"))
        for change in changes[:count]:
            out.print(Text(f"  {_shown(change.source)} turn {change.turn}: {_shown(_around(change))}"))


def _shown(text: str) -> str:
    """Return a part of somebody's file on one line, as it may be printed."""
    return visible(excerpt(text))


def _around(change: Change) -> str:
    """Return the turn from a little before the place where a rule fired."""
    start = (change.after if change.after.rule else change.before).start
    return change.text[max(0, start - 40) :]


def _audit(found: Audit) -> dict[str, Any]:
    return {
        "pack": found.pack,
        "digest": found.digest,
        "rows": found.rows,
        "undetermined": found.undetermined,
        "right": _rate(found.right),
        "refusals": _figures(found.refusals),
        "flagged": _figures(found.flagged),
        "labels": {name.value: _figures(one) for name, one in found.labels.items()},
        "models": {name: _figures(one) for name, one in found.models.items()},
        "confusion": [
            {"people": truth.value, "pack": said.value, "rows": count}
            for (truth, said), count in sorted(found.confusion.items())
        ],
        "misses": [{"gold": asdict(miss.gold), "found": asdict(miss.found)} for miss in found.misses],
    }


def _figures(one: Figures) -> dict[str, Any]:
    return {
        "people": one.positive,
        "pack": one.said,
        "precision": _rate(one.precision),
        "recall": _rate(one.recall),
        "f1": _rate(one.f1),
        "false_positives": _rate(one.false_positives),
    }


def _rate(one: Rate) -> dict[str, Any]:
    """JSON has no NaN: a share of nothing is null."""
    return asdict(one) | {"value": None if math.isnan(one.value) else one.value}


def _diff(found: Diff) -> dict[str, Any]:
    return {
        "before": found.before,
        "after": found.after,
        "chats": found.chats,
        "turns": found.turns,
        "added": _changed(found.added),
        "removed": _changed(found.removed),
        "labels": [
            {"before": old.value, "after": new.value, "turns": count} for (old, new), count in found.labels.items()
        ],
        "counts": {label.value: {"before": old, "after": new} for label, (old, new) in found.counts.items()},
        "regressions": [
            {"gold": asdict(one.gold), "before": asdict(one.before), "after": asdict(one.after)}
            for one in found.regressions
        ],
        "gained": found.gained,
    }


def _changed(side: Side) -> dict[str, Any]:
    return {
        "chats": list(side.chats),
        "rules": dict(side.rules),
        "samples": {rule: [asdict(change) for change in changes] for rule, changes in side.samples.items()},
    }
