"""What a gate says: for people, for JUnit readers, for a page; whatever a name or an item contains."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from test_regress import said, scores, simulated

from harness.cli import regress_output
from harness.commands.regress import documents, wording
from harness.commands.regress.outcome import Outcome, Scores, Tested
from harness.commands.regress.regression import Arm, Line, Verdict
from harness.compare import Incomparable, Reason
from harness.report.escapes import visible

# junit-10.xsd of Jenkins' xUnit plugin: element -> (attributes it must have, those it may have, elements inside).
JUNIT: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package", "group", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}
HOSTILE = "x\x1b[31m\x00</testcase>]]>|<script>alert(1)</script>\u202e`*_"
LOST, EQUAL, FEW = simulated(items=14_000, effect=-0.04), simulated(items=14_000), simulated(items=30)
REFUSED = Incomparable(reason=Reason.PROMPTS_DIFFER, example="x", message="3 of 9 items were asked differently")


def arm(version: str, chats: int, **dropped: int) -> Arm:
    return Arm(name=f"clean-{version}", pack=f"alignment@{version}", chats=chats, dropped=dropped, treated={})


def verdict(gate: str = "*: -3%", *, seeds: int = 1, strict: bool = False, **of: Scores | Incomparable) -> Verdict:
    """Return a verdict over tasks, as `harness regress` makes it."""
    lines = [
        Line(title=one.task.upper(), tested=one, command=f"harness predictions diff --task {one.task}")
        for one in said(gate, **of).values()
    ]
    return Verdict(
        study="pocket",
        variant="clean",
        reference=arm("1.0.0", 1021, full_refusal=10, moralising=3),
        treated=arm("1.1.0", 1019, full_refusal=12, moralising=3),
        seeds=tuple(range(seeds)),
        limit=0,
        gate=gate,
        alpha=0.05,
        strict=strict,
        lines=tuple(lines),
    )


def same() -> Verdict:
    """Return the verdict on two versions that leave the same chats."""
    tested = Tested(task="mmlu", check=None, gap=None, outcome=Outcome.SAME)
    return replace(verdict(mmlu=EQUAL), lines=(Line(title="MMLU", tested=tested, command="-"),))


def renamed(name: str) -> Verdict:
    """Return a verdict in which everything is called so, items too."""
    found = verdict(mmlu=replace(LOST, items=tuple(f"{name}{number}" for number in range(14_000))))
    lines = [Line(title=name, tested=replace(line.tested, task=name), command=name) for line in found.lines]
    return replace(found, study=name, variant=name, gate=name, lines=tuple(lines), reference=arm(name, 1))


ALL = {"mmlu": LOST, "bbh": EQUAL, "drop": FEW, "humaneval": REFUSED}


# --- exit codes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "gate", "loose", "strict"),
    [
        ({"mmlu": EQUAL}, "*: -3%", 0, 0),
        ({"mmlu": FEW}, "*: -3%", 0, 11),
        ({"mmlu": REFUSED}, "*: -3%", 0, 11),
        ({"mmlu": LOST}, "*: -3%", 10, 10),
        (ALL, "*: -3%", 10, 10),
        ({"mmlu": EQUAL, "drop": FEW}, "*: -3%", 0, 11),
        ({"mmlu": EQUAL, "drop": LOST, "humaneval": REFUSED}, "mmlu: -3%", 0, 0),
    ],
)
def test_the_exit_code_is_10_for_a_loss_and_11_only_under_strict(
    of: dict[str, Any], gate: str, loose: int, strict: int
) -> None:
    assert verdict(gate, **of).exit_code == loose
    assert verdict(gate, strict=True, **of).exit_code == strict


def test_the_same_chats_pass_strictly() -> None:
    assert replace(same(), strict=True).exit_code == 0


# --- sentences -------------------------------------------------------------------------------------------


def test_the_correction_is_said_to_be_over_the_tasks_that_were_tested() -> None:
    found = verdict("mmlu: -3%, bbh: -3%, humaneval: -3%", **ALL)
    assert sum(line.tested.held is not None for line in found.lines) == 2
    assert any("Holm over 2 tasks, alpha" in note for note in wording.notes(found))


def test_a_failure_says_value_interval_margin_p_and_which_items_changed() -> None:
    found = verdict(mmlu=LOST)
    text = " ".join(wording.reasons(found.lines[0], found))
    for pattern in (
        r"clean-1\.1\.0 \d+\.\d %, clean-1\.0\.0 \d+\.\d %",
        r"gap -\d\.\d \[-\d\.\d, -\d\.\d\] points, relative -\d\.\d % \[-\d+\.\d, -\d+\.\d\]; 14,000 items, 1 seed\.",
        r"a loss of at most 3 % of clean-1\.0\.0's score = \d\.\d\d points\.",
        r"That there is a larger loss is shown, p = [\d.e-]+\.",
        r"Items that changed: \d+ lost, \d+ gained\.",
        r"Lost: item-\d{5}, item-\d{5}, item-\d{5}, item-\d{5}, item-\d{5} and \d+ more\.",
    ):
        assert re.search(pattern, text), pattern
    assert wording.command(found.lines[0]) == "harness predictions diff --task mmlu"


def test_what_is_not_decided_says_both_p_values_and_what_passed_says_nothing() -> None:
    found = verdict(bbh=EQUAL, drop=FEW)
    passed, undecided = found.lines
    assert wording.reasons(passed, found) == []
    assert wording.command(passed) == ""
    assert "Neither is shown: no larger loss p = " in " ".join(wording.reasons(undecided, found))


def test_a_required_gain_is_worded_as_one() -> None:
    found = verdict("*: +2%", mmlu=EQUAL)
    text = " ".join(wording.reasons(found.lines[0], found))
    assert "Allowed: a gain of at least 2 % of clean-1.0.0's score" in text
    assert "That there is a smaller gain is shown" in text


def test_one_seed_speaks_of_checkpoints_and_several_of_the_versions() -> None:
    one, several = verdict(mmlu=EQUAL), verdict(mmlu=simulated(items=500, seeds=3), seeds=3)
    assert "these checkpoints" in wording.claim(one)
    assert wording.claim(several) == "It is about the versions of the filter, over 3 training seeds."
    for view in (documents.as_json, documents.as_markdown):
        assert "these checkpoints" in view(one)
        assert "these checkpoints" not in view(several)


def test_a_reference_that_scores_nothing_is_told_to_use_points() -> None:
    nothing = np.zeros((1, 500))
    found = verdict(mmlu=scores(nothing, nothing))
    assert found.lines[0].tested.outcome is Outcome.INCONCLUSIVE
    assert "give points, such as -1pt" in " ".join(wording.reasons(found.lines[0], found))
    assert "No item changed." in wording.reasons(found.lines[0], found)
    assert wording.command(found.lines[0]) == ""


def test_the_headline_names_the_worst_first_and_what_is_not_gated_is_said() -> None:
    assert wording.headline(verdict(**ALL)).startswith("Regressed: MMLU. alignment@1.1.0 costs more than")
    assert wording.headline(verdict(bbh=EQUAL, drop=FEW)).startswith("Not decided: DROP, which does not fail without")
    assert wording.headline(verdict(bbh=EQUAL)).startswith("Passed: no task loses more under alignment@1.1.0")
    assert "nothing to train" in wording.headline(same())
    assert wording.headline(verdict("bbh: -3%", bbh=EQUAL, drop=LOST)).startswith("Passed")
    assert "not gated, since the gate has no check for it: DROP." in " ".join(
        wording.notes(verdict("bbh: -3%", bbh=EQUAL, drop=LOST))
    )


def test_the_notes_say_what_changed_of_the_chats() -> None:
    text = " ".join(wording.notes(verdict(mmlu=EQUAL)))
    assert "alignment@1.0.0 leaves 1,021 chats (clean-1.0.0); alignment@1.1.0 leaves 1,019 chats" in text
    assert "Chats dropped, by reason: full_refusal 10 -> 12." in text


# --- JUnit -----------------------------------------------------------------------------------------------


def check_junit(text: str) -> ElementTree.Element:
    """Return the suite of a document that keeps to the schema."""
    root = ElementTree.fromstring(text.partition("\n")[2])
    assert root.tag == "testsuites"
    for element in root.iter():
        must, may, inside = JUNIT[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        assert {child.tag for child in element} <= inside, element.tag
    (suite,) = root
    cases = suite.findall("testcase")
    counted = Counter(child.tag for case in cases for child in case)
    assert int(suite.attrib["tests"]) == len(cases)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[attribute]) == counted[tag]
    return suite


@pytest.mark.parametrize("strict", [False, True])
def test_junit_has_one_case_a_task_and_keeps_to_the_schema(strict: bool) -> None:
    free = {"gate": "mmlu: -3%, bbh: -3%, drop: -3%, humaneval: -3%", "free": EQUAL}
    suite = check_junit(documents.as_junit(verdict(strict=strict, **free, **ALL)))  # type: ignore[arg-type]
    found = {case.attrib["name"]: [child.tag for child in case][:-1] for case in suite.findall("testcase")}
    undecided = ["error"] if strict else ["skipped"]
    assert found == {
        "free": ["skipped"],
        "mmlu": ["failure"],
        "bbh": [],
        "drop": undecided,
        "humaneval": undecided,
    }


def test_the_failure_holds_the_whole_reason_and_the_command() -> None:
    suite = check_junit(documents.as_junit(verdict(mmlu=LOST)))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "Items that changed" in (failure.text or "")
    assert "See them: harness predictions diff --task mmlu" in (failure.text or "")
    assert "these checkpoints" in (failure.text or "")
    assert failure.attrib["message"].startswith("MMLU: regressed.")


def test_the_same_chats_are_passing_cases() -> None:
    suite = check_junit(documents.as_junit(same()))
    assert [child.tag for child in suite.findall("testcase")[0]] == ["system-out"]


def test_whatever_a_name_contains_the_xml_is_well_formed_and_says_it() -> None:
    text = documents.as_junit(renamed(HOSTILE))
    suite = check_junit(text)
    assert suite.findall("testcase")[0].attrib["name"] == HOSTILE.replace("\x1b", r"\x1b").replace("\x00", r"\x00")
    assert not set(text) & {"\x1b", "\x00"}


@pytest.mark.parametrize("one", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_spelled_out(one: str) -> None:
    text = documents.as_junit(renamed(f"a{one}b"))
    check_junit(text)
    assert one not in text
    assert one.encode("unicode_escape").decode() in text


# --- Markdown and JSON -----------------------------------------------------------------------------------


def test_the_summary_has_the_table_the_reasons_and_the_command() -> None:
    text = documents.as_markdown(verdict(strict=True, **ALL))
    assert text.startswith("## Filter gate failed, regressed: pocket")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(ALL)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(wording.HEADER) + 1}
    assert "```sh\nharness predictions diff --task mmlu\n```" in text
    assert documents.as_markdown(verdict(strict=True, drop=FEW)).startswith("## Filter gate failed, not decided: ")
    assert documents.as_markdown(verdict(drop=FEW)).startswith("## Filter gate not decided: ")
    assert documents.as_markdown(verdict(bbh=EQUAL)).startswith("## Filter gate passed: ")


def test_no_name_in_the_summary_is_obeyed_as_markup() -> None:
    text = documents.as_markdown(renamed(HOSTILE))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)<script", text.replace("```sh\n" + visible(HOSTILE) + "\n```", ""))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(wording.HEADER) + 1}


def test_json_holds_every_number_of_the_other_views() -> None:
    found = json.loads(documents.as_json(verdict(strict=True, **ALL)))
    assert found["exit_code"] == 10
    tasks = {task["task"]: task for task in found["tasks"]}
    assert tasks["mmlu"]["outcome"] == "regressed"
    assert tasks["mmlu"]["p_lost"] < 0.001 < tasks["mmlu"]["p_held"]
    assert tasks["mmlu"]["gap"]["low"] < tasks["mmlu"]["gap"]["absolute"] < tasks["mmlu"]["margin"] < 0
    assert tasks["mmlu"]["lost"][0].startswith("item-")
    assert tasks["humaneval"]["incomparable"] == REFUSED.message
    assert tasks["humaneval"]["gap"] is None
    assert json.loads(documents.as_json(same()))["same_chats"] is True


@pytest.mark.parametrize("view", [documents.as_json, documents.as_junit, documents.as_markdown])
def test_equal_verdicts_give_equal_bytes(view: Any) -> None:
    assert view(verdict(**ALL)) == view(verdict(**ALL))


def test_the_table_fits_80_columns_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = verdict("mmlu: -12.5%, *: -3%", strict=True, **ALL)
    regress_output._print(found)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    for line in found.lines:
        for cell in wording.row(line):
            assert cell in out


def test_the_terminal_is_not_commanded_by_names_or_items(capsys: pytest.CaptureFixture[str]) -> None:
    regress_output._print(renamed(HOSTILE))
    assert not set(capsys.readouterr().out) & {"\x1b", "\x00", "\u202e"}
