"""The page of a study: which numbers stand where.

Owns the order of `index.html` and the tables in it. Computes nothing. Invariant: equal results and texts give equal
bytes; without the texts only the browser of items says less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.compare import Gap, Incomparable, Verdict
from harness.report import numbers, verdicts, wording
from harness.report.numbers import counted
from harness.report.page import payload, plots, shell, words
from harness.report.page.outcomes import Outcomes, outcomes
from harness.report.page.texts import Texts
from harness.report.result import ControlKind, Result, TaskRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of texts; `numbers` are the columns that stand to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A further part of the page; `plots` are SVG elements of `drawing`, everything else is plain text."""

    title: str
    text: Sequence[str] = ()
    plots: Sequence[str] = ()
    tables: Sequence[Table] = ()


def as_html(
    result: Result,
    *,
    texts: Mapping[str, Texts],
    sections: Sequence[Section] = (),
) -> str:
    """Return the page.

    Args:
        texts: of the items that flipped, by task (see `texts.load`); a task without them shows outcomes alone.
        sections: further parts, before the data.
    """
    values = {
        "title": result.study,
        "subtitle": result.title,
        "headline": wording.headline(result),
        "about": _about(result),
        "warnings": words.warnings(result),
        "reference": result.reference,
        "treated": result.treated,
        "confidence": wording.confidence(result),
        "marks": words.MARKS,
        "verdicts": [_verdict(row, result) for row in result.tasks],
        "forest": shell.safe(plots.forest(result)),
        "forest_note": _forest_note(result),
        "controls": _controls(result),
        "parts": [part for number, row in enumerate(result.tasks) if (part := _parts(row, number, result))],
        "curves": shell.safe(plots.curves(result)),
        "legend": _legend(result),
        "budget": _budget(result),
        "doses": shell.safe(plots.doses(result)),
        "sections": [_marked(section) for section in sections],
        "funnel": shell.safe(plots.funnel(result)),
        "losses": _losses(result),
        "provenance": _provenance(result),
        "scores": _scores(result),
        "weights": _weights(result),
        "notes": wording.footnotes(result),
        **_browser(result, outcomes(result), texts),
    }
    return shell.page(
        "study.html",
        styles=("style.css", "browser.css"),
        scripts=("theme.js", "browser.js"),
        values={**values, "nav": _navigation(values)},
    )


def _about(result: Result) -> str:
    items = sum(row.items for row in result.tasks)
    what = f"{result.treated} against {result.reference}, {counted(len(result.seeds), 'training seed')}"
    return f"{what}, {counted(len(result.tasks), 'task')}, {counted(items, 'item')}. A gap is a {result.claim}."


def _navigation(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [("verdicts", "Verdicts")]
    found += [("controls", "Controls")] if values["controls"] else []
    found += [("parts", "Subjects")] if values["parts"] else []
    found += [("items", "Items")] if values["browser"] else []
    found += [("training", "Training")]
    found += [("doses", "Dose")] if values["doses"] else []
    found += [(f"more-{number}", one.title) for number, one in enumerate(values["sections"], start=1)]
    return [*found, ("data", "Data"), ("provenance", "Provenance")]


def _verdict(row: TaskRow, result: Result) -> dict[str, Any]:
    gap, judged = row.gap, row.judgement
    shown: dict[str, Any] = {
        "title": row.title,
        "metric": row.metric,
        "primary": row.task == result.primary,
        "kind": words.verdict_of(row).value,
        "verdict": verdicts.verdict(gap, judged),
        "more": words.grounds(row),
        "refusal": "",
        "smallest": verdicts.smallest(judged),
        "size": f"{row.items:,}",
    }
    for side, arm in (("reference", result.reference), ("treated", result.treated)):
        score = row.scores[arm]
        shown |= {side: numbers.percent(score.mean)}
        shown |= {f"{side}_interval": f"[{numbers.percent(score.low)}, {numbers.percent(score.high)}]"}
    if isinstance(gap, Incomparable):
        return {**shown, "refusal": gap.message}
    relative = ""
    if gap.relative_low is not None and gap.relative_high is not None:
        relative = f"[{100 * gap.relative_low:+.1f}, {100 * gap.relative_high:+.1f}]"
    return {
        **shown,
        "gap": f"{100 * gap.absolute:+.1f}",
        "interval": f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        "relative": numbers.relative(gap),
        "relative_interval": relative,
    }


def _controls(result: Result) -> list[Table]:
    return [
        Table(header=("task", "gap, points", "verdict"), numbers=(1,), rows=one.rows, caption=one.heading)
        for one in verdicts.controls(result)
    ]


def _forest_note(result: Result) -> str:
    """Say what the lines, the band and the colours of the plot are, as far as they are in it."""
    kinds = {control.kind for row in result.tasks for control in row.controls}
    called = {row.judgement.verdict for row in result.tasks if row.judgement}
    zero = " (the same data under other seeds should lie around zero)" if ControlKind.SAME_DATA in kinds else ""
    return " ".join(
        [
            f"Every task's gap with its {wording.confidence(result)} interval; the grey band is the margin within which"
            " a gap counts as none.",
            *([f"Thinner lines are controls{zero}."] if kinds else []),
            *(["Green: improved."] if Verdict.IMPROVED in called else []),
            *(["Red: regressed."] if Verdict.REGRESSED in called else []),
        ]
    )


def _parts(row: TaskRow, number: int, result: Result) -> dict[str, Any] | None:
    plot = plots.parts(row, f"parts{number}", result)
    if not plot:
        return None
    gaps = [part.gap for part in row.parts if isinstance(part.gap, Gap)]
    expected = round(len(gaps) * (1 - gaps[0].confidence), 1)
    return {
        "title": row.title,
        "plot": shell.safe(plot),
        "count": len(gaps),
        "called": sum(gap.called for gap in gaps),
        "note": "In brackets the number of items. The intervals are not corrected over the subtasks: if nothing had"
        f" changed, about {expected:g} of {len(gaps)} would exclude zero by chance. What reaches beyond the edge is cut"
        " off.",
    }


def _legend(result: Result) -> list[tuple[str, str]]:
    arms = dict.fromkeys(one.arm for one in result.curves)
    return [(arm, plots.ink_of(arm, result).name.lower()) for arm in arms]


def _budget(result: Result) -> Table:
    [reference] = [arm for arm in result.arms if arm.name == result.reference]

    def share(own: int, other: int) -> str:
        return f"{own:,} ({100 * own / other:.0f} %)" if other and own else f"{own:,}"

    return Table(
        header=("arm", "treatment", "chats", "supervised tokens", "steps", "seeds"),
        numbers=(2, 3, 4),
        rows=[
            (
                *(arm.name, arm.treatment, share(arm.chats, reference.chats)),
                *(share(arm.supervised_tokens, reference.supervised_tokens), share(arm.steps, reference.steps)),
                ", ".join(map(str, arm.seeds)) or "-",
            )
            for arm in result.arms
        ],
    )


def _losses(result: Result) -> Table:
    data = result.funnel
    counts: list[tuple[str, Mapping[str, int]]] = [
        ("rows read", data["read"]),
        ("selected", data["selected"]),
        ("dropped by cleaning", data["dropped_by_cleaning"]),
        ("answers by label", data["labels"]),
        *((f"dropped from {arm.name}", arm.dropped) for arm in result.arms),
        *((f"changed in {arm.name}", arm.treated) for arm in result.arms),
    ]
    rows = [
        (
            what,
            ", ".join(
                f"{name.removeprefix('label:').replace('_', ' ')} {count:,}" for name, count in sorted(own.items())
            ),
        )
        for what, own in counts
        if own
    ]
    for name, what in (("repaired", "chats repaired"), ("repeat_a_passage", "chats that repeat a long passage")):
        if data.get(name):
            rows.append((what, f"{data[name]:,}"))
    return Table(header=("step", "what and how many"), rows=rows)


def _provenance(result: Result) -> list[tuple[str, str]]:
    training = result.training
    isolation = sorted({level for row in result.tasks for level in row.isolation})
    facts = [
        ("study", result.study + (f" ({result.selection})" if result.selection else "")),
        ("seeds", ", ".join(map(str, result.seeds))),
        ("filter", result.filter),
        ("scoring profiles", ", ".join(result.profiles)),
        ("parameters", ", ".join(f"{count:,}" for count in training["parameters"])),
        ("attention", ", ".join(training["attention"])),
        ("trained on", ", ".join(training["accelerator"])),
        ("chats cut at the recipe's length", f"{training['cut_chats']:,} over all trainings"),
        ("items per task", f"at most {result.limit}" if result.limit else "all"),
        ("isolation of programs", ", ".join(isolation)),
    ]
    return [(name, value) for name, value in facts if value]


def _scores(result: Result) -> Table:
    arms = [arm.name for arm in result.arms]
    return Table(
        header=("task", "chance", *arms),
        numbers=tuple(range(1, len(arms) + 2)),
        rows=[
            (row.title, numbers.percent(row.chance), *(numbers.estimate(row.scores[arm]) for arm in arms))
            for row in result.tasks
        ],
    )


def _weights(result: Result) -> Table:
    return Table(
        header=("arm", "seed", "digest"),
        rows=[(arm.name, seed or "-", digest) for arm in result.arms for seed, digest in sorted(arm.weights.items())],
    )


def _browser(result: Result, tasks: Sequence[Outcomes], texts: Mapping[str, Texts]) -> dict[str, Any]:
    """Return the data of the browser of items and the sentence above it."""
    if not tasks:
        return {"browser": None, "items_note": ""}
    longest = payload.length_of_texts(texts)
    room, left_out, shown = payload.ROOM, 0, []
    for number, one in enumerate(tasks):
        if one.task in texts:
            found, without, used = payload.wording(one, texts[one.task], longest=longest, room=room)
            room, left_out = room - used, left_out + without
            shown.append((number, found))
    flipped, total = sum(len(one.flipped()) for one in tasks), sum(len(one.items) for one in tasks)
    verb = "has different scores" if total == 1 else "have different scores"
    note = [f"{flipped:,} of {counted(total, 'item')} {verb} under the two arms with at least one seed."]
    lost = [one.title for one in tasks if one.task not in texts]
    if lost:
        note.append(f"Texts are not kept for {', '.join(lost)}: outcomes alone are shown.")
    if shown:
        note.append(f"Texts longer than {longest:,} characters are cut in their middle.")
    if left_out:
        note.append(f"There is no room here for the texts of {left_out:,} of them.")
    seeds = list(dict.fromkeys(run.name for one in tasks for run in one.runs))
    data = {
        "pair": {"reference": result.reference, "treated": result.treated, "seeds": seeds},
        "tasks": [payload.overview(one, kept=one.task in texts) for one in tasks],
        "texts": shown,
    }
    return {"browser": data, "items_note": " ".join(note)}


def _marked(section: Section) -> Section:
    return Section(
        title=section.title,
        text=section.text,
        plots=[shell.safe(plot) for plot in section.plots],
        tables=section.tables,
    )
