"""The verdict for programs and for continuous integration: JSON, JUnit XML and Markdown.

Owns their layout. Computes nothing. Invariant: equal verdicts give equal bytes; whatever a name contains, the XML is
well-formed and the Markdown has as many columns as its header.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from harness.commands.regress import wording
from harness.commands.regress.outcome import Outcome
from harness.commands.regress.regression import Arm, Line, Verdict
from harness.compare import Gap, Incomparable
from harness.report.escapes import visible

# XML 1.0, section 2.2: what a document may not contain, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(verdict: Verdict) -> str:
    """Return one JSON document."""
    document = {
        "study": verdict.study,
        "variant": verdict.variant,
        "reference": _arm(verdict.reference),
        "treated": _arm(verdict.treated),
        "seeds": list(verdict.seeds),
        "limit": verdict.limit,
        "gate": verdict.gate,
        "alpha": verdict.alpha,
        "strict": verdict.strict,
        "same_chats": verdict.same,
        "exit_code": verdict.exit_code,
        "headline": wording.headline(verdict),
        "claim": None if verdict.same else wording.claim(verdict),
        "tasks": [_task(line, verdict) for line in verdict.lines],
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        "filter": arm.pack,
        "chats": arm.chats,
        "dropped": dict(arm.dropped),
        "treated": dict(arm.treated),
    }


def _task(line: Line, verdict: Verdict) -> dict[str, Any]:
    tested, gap = line.tested, line.tested.gap
    numbers: dict[str, Any] | None = None
    if isinstance(gap, Gap):
        names = ("reference", "treated", "absolute", "low", "high", "relative", "relative_low", "relative_high")
        numbers = {name: getattr(gap, name) for name in (*names, "seeds", "items")} | {"scope": gap.scope.value}
    return {
        "task": tested.task,
        "title": line.title,
        "outcome": tested.outcome.value,
        "check": None if tested.check is None else tested.check.text,
        "margin": tested.margin,
        "gap": numbers,
        "incomparable": gap.message if isinstance(gap, Incomparable) else None,
        "p_held": tested.held,
        "p_lost": tested.lost,
        "lost": None if tested.flips is None else list(tested.flips.lost),
        "gained": None if tested.flips is None else list(tested.flips.gained),
        "reasons": wording.reasons(line, verdict),
        "command": line.command,
    }


def as_junit(verdict: Verdict) -> str:
    """Return JUnit XML, one test case a task, without times.

    A regressed task is a failure. One that is not decided is an error under --strict, else skipped; so is one that is
    not gated.
    """
    suite = ElementTree.Element("testsuite", name=_xml(f"harness regress {wording.title(verdict)}"))
    counts = {"tests": len(verdict.lines), "failures": 0, "errors": 0, "skipped": 0}
    properties = ElementTree.SubElement(suite, "properties")
    settings = {
        "study": verdict.study,
        "variant": verdict.variant,
        "filter": verdict.treated.pack,
        "against": verdict.reference.pack,
        "gate": verdict.gate,
        "seeds": " ".join(map(str, verdict.seeds)),
    }
    for name, value in settings.items():
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    for line in verdict.lines:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(f"{verdict.study}.{verdict.variant}"), name=_xml(line.tested.task)
        )
        outcome = line.tested.outcome
        command = wording.command(line)
        see = [f"See them: {command}"] if command else []
        text = "\n".join([*wording.reasons(line, verdict), wording.claim(verdict), *see])
        if outcome is Outcome.REGRESSED or (verdict.strict and outcome.open):
            kind, count = ("failure", "failures") if outcome is Outcome.REGRESSED else ("error", "errors")
            attributes = {"type": outcome.value, "message": _xml(" ".join(wording.reasons(line, verdict)[:3]))}
            ElementTree.SubElement(case, kind, attributes).text = _xml(text)
            counts[count] += 1
        elif outcome.open or outcome is Outcome.NOT_GATED:
            why = " ".join(wording.reasons(line, verdict)[:3]) or "not gated: the gate has no check for this task"
            ElementTree.SubElement(case, "skipped", message=_xml(why))
            counts["skipped"] += 1
        ElementTree.SubElement(case, "system-out").text = _xml(" | ".join(wording.row(line)))
    suite.attrib.update({name: str(value) for name, value in counts.items()})
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    r"""Return a text in which what XML cannot hold is spelled out, such as \x1b."""
    return _NOT_XML.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def as_markdown(verdict: Verdict) -> str:
    """Return the verdict as a section of a page, such as the summary of a GitHub job."""
    mark = {0: "not decided" if verdict.open else "passed", 10: "failed, regressed", 11: "failed, not decided"}
    lines = [
        f"## Filter gate {mark[verdict.exit_code]}: {_inline(wording.title(verdict))}",
        "",
        _inline(wording.headline(verdict)),
        "",
    ]
    if not verdict.same:
        lines += [_cells(wording.HEADER), _cells(["---"] * len(wording.HEADER))]
        lines += [_cells([_inline(cell) for cell in wording.row(line)]) for line in verdict.lines]
        lines.append("")
    for line in verdict.lines:
        why, command = wording.reasons(line, verdict), wording.command(line)
        if why:
            lines += [f"**{_inline(why[0])}**", "", *(f"- {_inline(one)}" for one in why[1:]), ""]
        if command:
            lines += ["```sh", visible(command), "```", ""]
    lines += [f"- {_inline(note)}" for note in wording.notes(verdict)]
    return "\n".join(lines) + "\n"


def _cells(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _inline(text: str) -> str:
    """Return a text on one line with what Markdown or HTML would obey escaped."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", visible(text))
