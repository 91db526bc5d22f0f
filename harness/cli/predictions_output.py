"""What `harness predictions` prints.

Owns the layout of prompts and answers. Invariant: what a model wrote is shown as text, never obeyed: control characters
are escaped. With --format json stdout is one JSON document and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.cli.bars import Bars
from harness.cli.console import console, print_json, quiet_stdout
from harness.commands.ablate import Ablation, Request
from harness.commands.predictions import Given, Inspection, Shown
from harness.report.escapes import visible

# Characters of a prompt that are printed: its end is the question, what comes before are the shots.
_PROMPT = 1500


def show(item: str, request: Request, *, seed: int | None, as_json: bool) -> None:
    """Print one item."""
    with Bars() as bars, quiet_stdout():
        found = Inspection(Ablation(request, bars)).item(item, seed=seed)
    if as_json:
        print_json(_finite([_document(one) for one in found]))
        return
    for one in found:
        _print_item(one)


def diff(request: Request, *, seed: int | None, shown: int, as_json: bool) -> None:
    """Print the items on which the pair differs."""
    with Bars() as bars, quiet_stdout():
        ablation = Ablation(request, bars)
        inspection = Inspection(ablation)
        found = {task: list(inspection.differing(task, seed=seed)) for task in ablation.choice.definitions}
    if as_json:
        print_json(_finite([_document(one) for items in found.values() for one in items]))
        return
    out = console()
    pair = f"{ablation.choice.reference} -> {ablation.choice.treated}"
    for task, items in found.items():
        up = sum(_change(one) > 0 for one in items)
        primary = ablation.infos[task].primary
        out.print(Text(f"{task}: {len(items)} items differ in {primary}, {pair}: {up} up, {len(items) - up} down"))
        for one in items[:shown]:
            _print_item(one)
        for one in items[shown:]:
            sign = "+" if _change(one) > 0 else "-"
            out.print(Text(f"  {sign} {visible(one.item)}"), soft_wrap=True)


def _change(one: Shown) -> float:
    reference, treated = one.given
    return treated.scores.get(one.primary, 0.0) - reference.scores.get(one.primary, 0.0)


def _print_item(one: Shown) -> None:
    out = console()
    out.print()
    out.print(Text(f"{visible(one.item)}  ({one.task})", style="bold"), soft_wrap=True)
    if len({given.prompt for given in one.given}) > 1:
        out.print(Text("The prompts of the arms differ: they cannot be compared.", style="red"))
    fewer = sorted({given.shots for given in one.given if given.prompt != one.request.prompt})
    if fewer:
        counts = ", ".join(map(str, fewer))
        out.print(Text(f"The whole prompt was too long: it was sent with {counts} shots.", style="red"))
    context = one.request.contexts[0]
    dropped = len(context) - _PROMPT
    text = f"[{dropped:,} characters before]\n{context[-_PROMPT:]}" if dropped > 0 else context
    out.print(Padding(Text(_lines(text), style="dim"), (0, 0, 0, 2)))
    table = Table(pad_edge=False, show_lines=True)
    table.add_column("", no_wrap=True)
    for given in one.given:
        table.add_column(Text(given.arm if given.seed is None else f"{given.arm}, seed {given.seed}"), overflow="fold")
    table.add_row("answer", *[Text("\n".join(_answers(one, given))) for given in one.given])
    if any(given.extracted for given in one.given):
        table.add_row("read", *[Text(_plain(given.extracted)) for given in one.given])
    for name in sorted({name for given in one.given for name in given.scores}):
        table.add_row(
            Text(name), *[Text(f"{given.scores[name]:.4g}" if name in given.scores else "") for given in one.given]
        )
    out.print(table)


def _answers(one: Shown, given: Given) -> Iterator[str]:
    """Yield the lines of a checkpoint's answer: a text, or the log-probability of each choice."""
    many = len(given.answers) > 1
    for answer in given.answers:
        if one.request.continuations:
            best = max(answer["logprobs"])
            for choice, value in zip(one.request.continuations, answer["logprobs"], strict=True):
                yield f"{'*' if value == best else ' '} {visible(choice.strip()[:60])}  {value:.3f}"
        elif answer["logprobs"]:
            yield f"log-probability {answer['logprobs'][0]:.3f}"
        else:
            ending = {"length": " [token limit]"}.get(answer["finish"], "")
            number = f"{answer['sample']}: " if many else ""
            yield f"{number}{_lines(answer['text'])}{ending}" if answer["text"] else f"{number}[nothing]"


def _lines(text: str) -> str:
    """Return a text with its line breaks and without what would command the terminal."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _plain(extracted: Mapping[str, Any]) -> str:
    counts = Counter(str(value) for value in extracted.values())
    if len(counts) == 1:
        return _lines(next(iter(counts)))
    return "\n".join(f"{name}: {_lines(str(value))}" for name, value in extracted.items())


def _document(one: Shown) -> dict[str, Any]:
    return {**asdict(one), "request": one.request.to_row()}


def _finite(value: Any) -> Any:
    """Return a document without what JSON has no number for: the log-probability of what cannot be said is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
