"""What `harness explain` and `harness reproduce` print.

Owns the way from `commands.explain` and `.reproduce` to stdout. Invariant: with --format json stdout is one JSON
document and nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness import layout
from harness.cli.bars import Bars
from harness.cli.console import console, print_json, quiet_stdout
from harness.commands import explain, reproduce
from harness.commands.ablate import Ablation, Request
from harness.commands.explain import Ancestor, Difference, Explanation, Records, Step
from harness.commands.explain.wording import short, summary
from harness.report.escapes import visible
from harness.store import Record, Store

DIFFERENT = 10
_MOST = 20
_PROBLEMS = 5
_KEY = re.compile(r"[0-9a-fA-F]{1,64}")


def print_explanation(name: str, request: Request, *, as_json: bool) -> None:
    """Print why a stage is or is not cached, or what a record was made from."""
    layout.require_folders(results=request.results, data_dir=request.data_dir)
    records = Records(Store(request.results))
    if _KEY.fullmatch(name):
        record = records.find(name)
        found = explain.ancestry(records, record)
        document = _record_document(records, record, found)
        if not as_json:
            _print_record(records, record, found)
    else:
        with Bars() as bars, quiet_stdout():
            ablation = Ablation(request, bars, dry=True)
            explanation = explain.explain(ablation, records, name)
        document = _stage_document(explanation)
        if not as_json:
            _print_stage(explanation, records)
    if as_json:
        print_json(document)
    sys.stdout.flush()
    for problem in records.problems[:_PROBLEMS]:
        sys.stderr.write(f"Left out: {visible(problem)}\n")
    if (more := len(records.problems) - _PROBLEMS) > 0:
        sys.stderr.write(f"Left out: {more} more files of {records.store.root} for such reasons.\n")


def _print_stage(found: Explanation, records: Records) -> None:
    out = console()
    _say(found.sentence, style="bold")
    if found.record is not None:
        _uses(records, found.record)
        _say(f"harness explain {found.record.key[:12]} shows what it was made from.")
        return
    if found.waiting:
        _say(f"Not made yet before it: {', '.join(found.waiting)}.")
    if found.damaged is not None:
        _say(f"Restore or remove {found.damaged}.")
    if found.step is None:
        return
    for _, sentence in found.causes[1:]:
        _say(f"Also because {sentence}.")
    step = found.step
    same = "1 record" if found.candidates == 1 else f"{found.candidates} records"
    _say(f"Nearest of {same} of its kind: {records.title(step.record)}")
    out.print(_fields(f"{found.explained}: fields that differ", _rows(step)))
    for link in _links(step):
        out.print(_fields(f"{link.stage} against {link.record.key[:12]}", _rows(link)))


def _rows(step: Step) -> list[tuple[Difference, str]]:
    """Return what differs of one question, with the stage that an input comes from."""
    rows = [(difference, "") for difference in step.fields]
    for one in step.inputs:
        digests = {"recorded": one.recorded, "now": one.now}
        values = {side: explain.Absent.ABSENT if value is None else value for side, value in digests.items()}
        rows.append((Difference(path=f"inputs.{one.role}", **values), one.stage or ""))
    return rows


def _links(step: Step) -> list[Step]:
    """Return the comparisons of what came before, nearest first, each once."""
    found: dict[str, Step] = {}

    def walk(step: Step) -> None:
        for one in step.inputs:
            if one.step is not None:
                found.setdefault(one.step.stage, one.step)
                walk(one.step)

    walk(step)
    return list(found.values())


def _fields(title: str, rows: Sequence[tuple[Difference, str]]) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("field", overflow="fold")
    for name in ("recorded", "now"):
        table.add_column(name, overflow="fold")
    made = any(stage for _, stage in rows)
    if made:
        table.add_column("made by", overflow="fold")
    for difference, stage in rows:
        cells = [difference.path, short(difference.recorded), short(difference.now), *([stage] if made else [])]
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


def _print_record(records: Records, record: Record, found: Ancestor) -> None:
    out = console()
    _say(f"{record.payload['kind']} {record.key}", style="bold")
    kept = records.store.objects.path(record.output).is_dir()
    _say(f"output {record.output} ({'kept' if kept else 'not kept'} in {records.store.objects.root})")
    _uses(records, record)
    _say("lineage", style="bold")
    out.print(_tree(found))
    for title, rows in (
        ("payload", [(path, short(value)) for path, value in explain.flatten(record.payload).items()]),
        ("facts", summary(record.facts)),
    ):
        table = Table(title=title, title_justify="left", pad_edge=False, show_header=False)
        table.add_column("field", overflow="fold")
        table.add_column("value", overflow="fold")
        for name, value in rows:
            table.add_row(Text(visible(name)), Text(visible(value)))
        out.print(table)


def _uses(records: Records, record: Record) -> None:
    uses = records.uses(record)
    for use in uses:
        _say(f"used by the run {use.run} as {', '.join(use.stages)}")
    if not uses:
        _say(f"used by no run in {records.store.root / 'runs'}")


def _tree(ancestor: Ancestor) -> Tree:
    def label(one: Ancestor) -> Text:
        if one.record is None:
            return Text(visible(f"{one.role}: {one.line} ({one.digest[:12]})"))
        name = one.stages[0] if one.stages else str(one.record.payload["kind"])
        role = "" if not one.role or one.role == name else f"{one.role}: "
        same = f" (1 of {one.same} records of these bytes)" if one.same > 1 else ""
        text = f"{role}{name} {one.record.key[:12]}  {one.line}{same}{' (as above)' if one.repeated else ''}"
        return Text(visible(text))

    def grow(tree: Tree, one: Ancestor) -> Tree:
        for other in one.inputs:
            grow(tree.add(label(other)), other)
        for what, identity in one.outside:
            tree.add(Text(visible(f"{what}: {identity}"), style="dim"))
        return tree

    return grow(Tree(label(ancestor)), ancestor)


def _record_document(records: Records, record: Record, found: Ancestor) -> dict[str, Any]:
    return {
        "key": record.key,
        "payload": record.payload,
        "output": record.output,
        "kept": records.store.objects.path(record.output).is_dir(),
        "facts": record.facts,
        "runs": [{"run": use.run, "stages": list(use.stages)} for use in records.uses(record)],
        "lineage": found.document(),
    }


def _stage_document(found: Explanation) -> dict[str, Any]:
    return {
        "study": found.study,
        "stage": found.stage,
        "state": found.state.value,
        "sentence": found.sentence,
        "record": found.record.key if found.record else None,
        "kept": found.kept,
        "runs": [{"run": use.run, "stages": list(use.stages)} for use in found.uses],
        "explained": found.explained,
        "waiting": list(found.waiting),
        "key": found.key,
        "payload": found.payload,
        "damaged": str(found.damaged) if found.damaged else None,
        "candidates": found.candidates,
        "nearest": _step_document(found.step) if found.step else None,
        "causes": [
            {"stages": [name for name, _ in cause.stages], "because": sentence} | cause.difference.document()
            for cause, sentence in found.causes
        ],
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "record": step.record.key,
        "fields": [difference.document() for difference in step.fields],
        "inputs": [
            {
                "role": one.role,
                "stage": one.stage,
                "recorded": one.recorded,
                "now": one.now,
                "nearest": _step_document(one.step) if one.step else None,
            }
            for one in step.inputs
        ],
    }


def _say(text: str, style: str = "") -> None:
    """Print a line that may be broken where the terminal ends, whatever is in it."""
    console().print(Text(visible(text), style=style))


def print_reproduction(request: reproduce.Request, *, as_json: bool) -> None:
    """Make a record again and print whether it is the same.

    Raises:
        SystemExit: with 10 where it is not.
    """
    with Bars() as bars, quiet_stdout():
        if request.anyway:
            bars.note("--anyway: what is not as recorded is printed beside the result.")
        found = reproduce.reproduce(request, bars)
    if as_json:
        print_json(_reproduction_document(found))
    else:
        _print_reproduction(found)
    sys.stdout.flush()
    if not found.identical:
        raise typer.Exit(DIFFERENT)


def _print_reproduction(found: reproduce.Reproduction) -> None:
    verdict = "identical" if found.identical else "different"
    _say(f"{verdict}: {found.stage} of the run {found.run}, made again in {found.folder}", style="bold")
    for sentence in found.drift:
        _say(f"not as recorded: {sentence}")
    if found.copied:
        _say(f"copied, not made again: {', '.join(found.copied)}")
    same = found.record.output == found.made.output
    _say(f"output  {found.record.output[:12]} recorded, {found.made.output[:12]} now{'' if same else ': differs'}")
    if not found.facts:
        _say(f"facts   all {len(explain.flatten(found.record.facts)):,} values are the recorded ones")
    if found.first is not None:
        _say(f"the first stage before it that came out differently: {found.first}")
    if found.files:
        _say(f"files that differ: {', '.join(found.files)}")
    if found.facts:
        shown = found.facts[:_MOST]
        console().print(_fields("facts that differ", [(difference, "") for difference in shown]))
        if len(found.facts) > _MOST:
            _say(f"and {len(found.facts) - _MOST:,} more (--format json has all)")


def _reproduction_document(found: reproduce.Reproduction) -> dict[str, Any]:
    return {
        "identical": found.identical,
        "run": found.run,
        "stage": found.stage,
        "record": found.record.key,
        "made": found.made.key,
        "output": {"recorded": found.record.output, "now": found.made.output},
        "folder": str(found.folder),
        "not_as_recorded": list(found.drift),
        "copied": list(found.copied),
        "first_different": found.first,
        "facts": [difference.document() for difference in found.facts],
        "files": list(found.files),
    }
