"""What `harness data` prints.

Owns the way from `commands.data` to stdout. Invariant: with --format json stdout is one JSON document and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.cli.bars import Bars
from harness.cli.console import console, print_json, quiet_stdout
from harness.commands.data import Curation, Lineage
from harness.data import normal
from harness.data.statistics import POINTS, Statistics, statistics
from harness.nouns import Chat
from harness.report.escapes import visible
from harness.study.relabelled import name_of

_EXCERPT = 160
_NAMES = {"chats": "as read", "clean": "cleaned"}


def stats(study: str, *, data_dir: Path | None, results: Path, as_json: bool) -> None:
    """Print the funnel and the numbers of every collection of a study."""
    with Bars() as bars, quiet_stdout():
        curation = Curation(study, bars, data_dir=data_dir, results=results)
        records = curation.records()
        count = _tokens(curation.tokenizer())
        stages = ["chats", "clean", *(f"variant/{arm}" for arm in curation.arms)]
        numbers = {}
        for stage in stages:
            bar = bars.bar(f"counting {stage}")
            numbers[stage] = statistics(curation.chats(stage), count)
            bar.close()
        audits = {stage: curation.runner.audit(stage) / normal.DECISIONS for stage in stages if stage != "chats"}
    funnel = records["clean"].facts["by_source"]
    labels = records["label"].facts["turns"]
    further = {pack: records[stage].facts["turns"] for pack, stage in curation.further.items()}
    if as_json:
        document = {
            "study": curation.study.name,
            "funnel": funnel,
            "labels": labels,
            "further_labels": further,
            "collections": {stage: asdict(found) for stage, found in numbers.items()},
            "decisions": {stage: str(path) for stage, path in audits.items()},
        }
        print_json(document)
        return
    out = console()
    out.print(_funnel(curation.study.name, funnel))
    out.print(_labels(labels))
    for pack, counts in further.items():
        out.print(_labels(counts, f", by {name_of(pack)}"))
    out.print(_sizes(numbers))
    out.print(_languages(numbers))
    if count is None:
        out.print(Text("Tokens are counted once the base model is in the results folder (harness ablate makes it)."))
    out.print(Text("Decisions, one row per chat (Parquet, for example pandas.read_parquet):"))
    for stage, path in audits.items():
        print(f"  {stage}  {path}")


def show(name: str, study: str, *, data_dir: Path | None, results: Path, as_json: bool) -> None:
    """Print the lineage of one chat."""
    with Bars() as bars, quiet_stdout():
        curation = Curation(study, bars, data_dir=data_dir, results=results)
        found = curation.lineage(name)
    if as_json:
        print_json(_document(found))
        return
    out = console()
    read = found.read
    out.print(Text(f"chat {read.id}\nsource row {_short(read.source)}", style="bold"))
    for key, value in read.attributes.items():
        out.print(Text(f"  {_short(key)}: {_short(str(value))}"))
    out.print(_turns(found))
    out.print(_steps(found))


def _tokens(tokenizer: Path | None) -> Callable[[Sequence[str]], int] | None:
    if tokenizer is None:
        return None
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))

    def count(texts: Sequence[str]) -> int:
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        return sum(len(one.ids) for one in encoder.encode_batch(plain, add_special_tokens=False))

    return count


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", pad_edge=False)


def _funnel(study: str, funnel: Mapping[str, Mapping[str, int]]) -> Table:
    """One row per reason, one column per source; what stays comes last."""
    table = _table(f"{study}: cleaning, chats by reason and source")
    table.add_column("reason", no_wrap=True)
    for source in funnel:
        table.add_column(Text(source), justify="right", overflow="fold")
    table.add_column("all", justify="right")
    totals: dict[str, int] = {}
    for counts in funnel.values():
        for reason, count in counts.items():
            totals[reason] = totals.get(reason, 0) + count
    staying = [reason for reason in ("repaired", "kept") if reason in totals]
    for reason in [*sorted(totals.keys() - set(staying), key=lambda one: -totals[one]), *staying]:
        cells = [f"{counts.get(reason, 0):,}" for counts in funnel.values()]
        table.add_row(reason, *cells, f"{totals[reason]:,}", style="bold" if reason in staying else "")
    return table


def _labels(labels: Mapping[str, int], by: str = "") -> Table:
    table = _table(f"labels of the cleaned chats' assistant turns{by}")
    table.add_column("label", no_wrap=True)
    table.add_column("turns", justify="right")
    table.add_column("share", justify="right")
    total = sum(labels.values())
    for label, count in sorted(labels.items(), key=lambda one: -one[1]):
        table.add_row(label, f"{count:,}", f"{100 * count / total:.1f} %")
    return table


def _sizes(numbers: Mapping[str, Statistics]) -> Table:
    table = _table(f"sizes; words per chat at {', '.join(map(str, POINTS))} %")
    table.add_column("collection", overflow="fold")
    for name in ("chats", "turns", "words", "in answers", "tokens", "words per chat"):
        table.add_column(name, justify="right", overflow="fold")
    for stage, found in numbers.items():
        table.add_row(
            _NAMES.get(stage, stage.removeprefix("variant/")),
            *(f"{value:,}" for value in (found.chats, found.turns, found.words, found.answer_words)),
            "-" if found.tokens is None else f"{found.tokens:,}",
            " ".join(map(str, found.words_per_chat)),
        )
    return table


def _languages(numbers: Mapping[str, Statistics]) -> Table:
    table = _table("languages, chats")
    table.add_column("collection", overflow="fold")
    table.add_column("languages")
    for stage, found in numbers.items():
        shown = list(found.languages.items())[:8]
        rest = sum(found.languages.values()) - sum(count for _, count in shown)
        parts = [f"{code or 'not clear'} {count:,}" for code, count in shown] + ([f"others {rest:,}"] if rest else [])
        table.add_row(_NAMES.get(stage, stage.removeprefix("variant/")), ", ".join(parts))
    return table


def _turns(found: Lineage) -> Table:
    """The turns as they were read, with their labels; what cleaning changed shows in the decisions."""
    chat = found.cleaned or found.read
    table = _table("turns" if found.cleaned is None else "turns after cleaning")
    table.add_column("", justify="right")
    table.add_column("role", no_wrap=True)
    table.add_column("text")
    table.add_column("label", overflow="fold")
    labels = {"": found.labels} | {f"{name_of(pack)}: ": own for pack, own in found.further.items()}
    for number, turn in enumerate(chat.turns):
        said = [
            f"{by}{label.label.value}" + (f" ({label.rule})" if label.rule else "")
            for by, own in labels.items()
            for label in own
            if label.turn == number
        ]
        table.add_row(str(number), turn.role.value, Text(_short(turn.text)), Text("\n".join(said)))
    return table


def _steps(found: Lineage) -> Table:
    table = _table("decisions")
    for name in ("step", "action", "reason", "detail"):
        table.add_column(name, overflow="fold")
    rows = [(one.step, one) for one in found.decisions]
    for arm, (decision, _) in found.variants.items():
        pack = found.packs[arm]
        rows.append((f"variant {arm}" + (f", by {name_of(pack)}" if pack in found.further else ""), decision))
    for step, one in rows:
        became = f"became {one.became}" if one.became else ""
        detail = "; ".join(part for part in (one.detail, became) if part)
        table.add_row(Text(step), one.action.value, Text(one.reason), Text(visible(detail)))
    return table


def _short(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= _EXCERPT else f"{line[: _EXCERPT - 3]}..."


def _document(found: Lineage) -> dict[str, Any]:
    def chat(value: Chat | None) -> Any:
        if value is None:
            return None
        turns = [{"role": turn.role.value, "text": turn.text} for turn in value.turns]
        return {"id": value.id, "source": value.source, "turns": turns, "masked": list(value.masked)}

    return {
        "read": chat(found.read),
        "attributes": _finite(found.read.attributes),
        "cleaned": chat(found.cleaned),
        "decisions": [asdict(one) for one in found.decisions],
        "labels": [asdict(one) for one in found.labels],
        "further_labels": {pack: [asdict(one) for one in own] for pack, own in found.further.items()},
        "filters": dict(found.packs),
        "variants": {
            arm: {"decision": asdict(decision), "chat": chat(left)} for arm, (decision, left) in found.variants.items()
        },
    }


def _finite(value: Any) -> Any:
    """Return a value with words for NaN and the infinities of a Parquet column: JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value
