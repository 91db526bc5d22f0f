"""Verdicts in words: what each view says of them, and what it must not say."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report import arm, everywhere, incomparable, one_seed, printed, result, task, widest, words

from harness import compare
from harness.compare import Claim, Judgement, Verdict, Why
from harness.report import documents, latex, markdown, numbers, verdicts, wording
from harness.report.result import Control, ControlKind, Result, TaskRow


def judged(row: TaskRow, verdict: Verdict, **changed: Any) -> TaskRow:
    """Return the row with a verdict."""
    given: dict[str, Any] = {"verdict": verdict, "p_value": 0.0123, "adjusted": 0.0456, "margin": 0.01}
    return replace(row, judgement=Judgement(**{**given, **changed}))


def of_all_kinds() -> Result:
    """Return a result with every verdict."""
    titles = ("MMLU", "BBH", "DROP", "HumanEval", "XQ")
    rows = [task(title.lower(), title=title) for title in titles]
    rows[4] = replace(rows[4], gap=incomparable())
    return result(*(judged(row, verdict) for row, verdict in zip(rows, Verdict, strict=True)))


def control(kind: ControlKind, row: TaskRow, verdict: Verdict) -> Control:
    """Return a control of that kind with the gap of the row."""
    names = {
        ControlKind.RANDOM: ("random", "clean"),
        ControlKind.SAME_DATA: ("aligned", "again"),
        ControlKind.SHUFFLED: ("aligned", "shuffled"),
    }[kind]
    judgement = Judgement(verdict=verdict, p_value=0.5, adjusted=0.5, margin=0.01)
    return Control(kind=kind, reference=names[0], treated=names[1], gap=row.gap, judgement=judgement)


# --- words -----------------------------------------------------------------------------------------------


def test_every_view_says_every_verdict_in_words() -> None:
    shown = of_all_kinds()
    for name, text in everywhere(shown).items():
        plain = words(text)
        for one in ("improved", "regressed", "equivalent within 1.0 points", "inconclusive", "incomparable"):
            assert one in plain, (name, one)


def test_of_one_seed_and_of_the_base_every_verdict_is_about_these_checkpoints_only() -> None:
    rows = [judged(row, Verdict.REGRESSED) for row in one_seed().tasks]
    shown = replace(one_seed(), tasks=tuple(rows))
    assert isinstance(rows[0].gap, compare.Gap)
    assert rows[0].gap.scope is Claim.CHECKPOINTS
    assert verdicts.verdict(rows[0].gap, rows[0].judgement) == "regressed (these checkpoints only)"
    for name, text in everywhere(shown).items():
        assert "regressed (these checkpoints only)" in words(text), name
        assert "the data differ" not in words(text)
    assert wording.headline(shown).startswith("With one training seed, so of these checkpoints only, clean against")
    base = replace(of_all_kinds(), reference="base", treated="aligned")
    assert wording.headline(base).startswith("Of these checkpoints only, aligned against base is")


def test_several_seeds_need_no_such_words() -> None:
    for name, text in everywhere(of_all_kinds()).items():
        assert "checkpoints only" not in words(text), name


@pytest.mark.parametrize(
    ("verdict", "why", "text"),
    [
        (Verdict.IMPROVED, Why.CALLED, "improved"),
        (Verdict.IMPROVED, Why.CALLED_WITHIN_MARGIN, "improved, by less than the margin"),
        (Verdict.INCONCLUSIVE, Why.TOO_UNCERTAIN, "inconclusive"),
        (Verdict.INCONCLUSIVE, Why.NOT_AFTER_CORRECTION, "inconclusive, once corrected over the tasks"),
        (Verdict.INCONCLUSIVE, Why.PRIMARY_FIRST, "inconclusive, the primary task comes first"),
    ],
)
def test_what_a_verdict_rests_on_is_said_where_it_limits_it(verdict: Verdict, why: Why, text: str) -> None:
    row = judged(task(), verdict, why=why)
    assert verdicts.verdict(row.gap, row.judgement) == text


# --- the answer in one sentence --------------------------------------------------------------------------


def test_the_answer_names_every_task_once_with_what_its_verdict_rests_on() -> None:
    shown = of_all_kinds()
    text = wording.headline(shown)
    gap = shown.tasks[0].gap
    assert isinstance(gap, compare.Gap)
    points = f"({100 * gap.absolute:+.1f} points)"
    assert text == (
        f"Over 3 training seeds, clean against aligned is better on MMLU {points}; worse on BBH {points};"
        " equivalent on DROP (within 1.0 points); undecided on HumanEval; not comparable on XQ."
    )
    for name, view in everywhere(shown).items():
        if name != "csv":
            assert words(text).replace("%", "").split()[:12] == words(view)[words(view).index("Over 3 ") :].split()[:12]


def test_where_all_is_undecided_the_answer_says_what_could_not_be_seen() -> None:
    rows = [judged(task(), Verdict.INCONCLUSIVE, smallest=0.023), judged(task("b"), Verdict.INCONCLUSIVE, smallest=0.1)]
    assert wording.headline(result(*rows)) == (
        "Over 3 training seeds, it is undecided whether clean differs from aligned on any of the 2 tasks, where gaps"
        " below 2.3 to 10.0 points are easily missed."
    )
    assert wording.headline(result(rows[0])).endswith("on MMLU, where gaps below 2.3 points are easily missed.")


def test_two_tasks_of_one_verdict_are_joined_and_the_primary_one_comes_first() -> None:
    rows = [judged(task(name, title=name), Verdict.IMPROVED) for name in "ab"] + [
        judged(task("c", title="c"), Verdict.EQUIVALENT, margin=0.025)
    ]
    text = wording.headline(result(*rows, primary="c"))
    assert "is equivalent on c (the primary task; within 2.5 points); better on a (" in text
    assert re.search(r"points\) and b \(", text)


def test_the_answer_is_of_the_first_profile() -> None:
    rows = [judged(task(), Verdict.IMPROVED), judged(replace(task("s"), profile="strict"), Verdict.REGRESSED)]
    text = wording.headline(result(*rows, profiles=("lm-eval", "strict")))
    assert "better on MMLU" in text
    assert "worse" not in text


# --- power -----------------------------------------------------------------------------------------------


def test_beside_a_verdict_stand_the_smallest_effect_and_what_would_decide() -> None:
    row = judged(task(), Verdict.INCONCLUSIVE, smallest=0.0231, seeds_needed=9, items_needed=1200)
    assert verdicts.smallest(row.judgement) == "2.3"
    assert verdicts.needed(row.gap, row.judgement) == "9 seeds (6 more) or 1,200 items"
    shown = result(row)
    assert "smallest 2.3 points" in words(printed(shown))
    assert "to decide: 9 seeds (6 more) or 1,200 items" in words(printed(shown))
    assert "| 2.3 | 9 seeds (6 more) or 1,200 items |" in markdown.as_markdown(shown)
    own = json.loads(documents.as_json(shown))["tasks"][0]["verdict"]
    assert (own["smallest"], own["seeds_needed"], own["items_needed"]) == (0.0231, 9, 1200)
    assert "in 80 % of its repetitions" in words(printed(shown))


def test_what_is_decided_needs_nothing_more_and_what_neither_alone_decides_says_so() -> None:
    power = {"smallest": 0.05, "seeds_needed": 9, "items_needed": 1200}
    gap = task().gap
    for one in (Verdict.IMPROVED, Verdict.EQUIVALENT):
        assert verdicts.needed(gap, judged(task(), one, **power).judgement) == ""
    open_ = judged(task(), Verdict.INCONCLUSIVE, smallest=0.05).judgement
    assert verdicts.needed(gap, open_) == "seeds and items, both"
    assert verdicts.needed(one_seed().tasks[0].gap, open_) == "several seeds"
    unknown = judged(task(), Verdict.INCONCLUSIVE).judgement
    assert (verdicts.smallest(unknown), verdicts.needed(gap, unknown)) == ("-", "")


def test_a_study_that_has_enough_for_the_margin_is_not_told_that_nothing_more_would_decide() -> None:
    gap = task().gap
    assert isinstance(gap, compare.Gap)
    enough = "more seeds or items than a gap as large as the margin needs"
    for power in ({"seeds_needed": gap.seeds}, {"seeds_needed": gap.seeds - 1}, {"items_needed": gap.items}):
        row = judged(task(), Verdict.INCONCLUSIVE, smallest=0.009, **power)
        assert verdicts.needed(gap, row.judgement) == enough
    for name in ("terminal", "markdown"):
        assert enough in words(everywhere(result(row))[name])
    assert verdicts.needed(gap, judged(task(), Verdict.EQUIVALENT, smallest=0.009, seeds_needed=2).judgement) == ""


def test_the_variance_is_split_into_shares_of_the_whole() -> None:
    draw = np.random.default_rng(5)
    arms = [
        (draw.random((5, 300)) < 0.5 + 0.1 * draw.normal(size=(5, 1))).astype(float),
        (draw.random((5, 300)) < 0.5 + 0.1 * draw.normal(size=(5, 1))).astype(float),
    ]
    gap = compare.gap(*arms)
    text = verdicts.spread(gap)
    shares = [int(share) for share in re.findall(r"(\d+) %", text)]
    assert re.fullmatch(
        r"standard error \d+\.\d points, of its square seeds .*, items .*, rest \d+ %; the arms.*", text
    )
    assert 99 <= sum(shares) <= 101
    assert shares[0] > 50, "the seeds were made to differ"
    assert f"correlate at {gap.correlation:+.2f} (taken as independent)" in text
    own = json.loads(documents.as_json(result(replace(task(), gap=gap))))["tasks"][0]["gap"]
    parts = own["variance"]
    assert parts["seed"] + parts["item"] + parts["rest"] == pytest.approx(parts["all"])
    assert own["correlation"] == gap.correlation
    one = compare.gap(arms[0][:1], arms[1][:1])
    assert "items 100 %" in verdicts.spread(one)
    assert "seeds" not in verdicts.spread(one)
    assert verdicts.spread(incomparable()) == verdicts.spread(compare.gap(*arms, ["one"] * 300)) == ""


# --- controls --------------------------------------------------------------------------------------------


def test_each_control_has_a_table_that_says_what_it_is_for() -> None:
    row = task()
    kinds = [(kind, Verdict.INCONCLUSIVE) for kind in ControlKind]
    arms = tuple(arm(name) for name in ("base", "aligned", "clean", "random", "again", "shuffled"))
    shown = result(replace(row, controls=tuple(control(kind, row, one) for kind, one in kinds)), arms=arms)
    headings = [table.heading for table in verdicts.controls(shown)]
    assert headings == [
        "clean - random: clean against random removal of as many chats",
        "again - aligned: the same data under other seeds; a difference here is luck",
        "shuffled - aligned: keep; a difference has to be seen",
    ]
    for name in ("terminal", "markdown"):
        for heading in headings:
            assert words(heading) in words(everywhere(replace(shown, tasks=(with_scores(shown),)))[name])
    said = [row[2] for table in verdicts.controls(shown) for row in table.rows]
    assert said == ["inconclusive", "no difference shown", "no difference shown"]


def with_scores(shown: Result) -> TaskRow:
    """Return the only row with a score for every arm."""
    [row] = shown.tasks
    return replace(row, scores={one.name: row.scores["aligned"] for one in shown.arms})


@pytest.mark.parametrize("kind", [ControlKind.SAME_DATA, ControlKind.SHUFFLED])
def test_a_control_that_failed_is_the_first_thing_that_every_view_says(kind: ControlKind) -> None:
    bad = Verdict.REGRESSED if kind is ControlKind.SAME_DATA else Verdict.INCONCLUSIVE
    good = Verdict.INCONCLUSIVE if kind is ControlKind.SAME_DATA else Verdict.REGRESSED
    arms = tuple(arm(name) for name in ("base", "aligned", "clean", "random", "again", "shuffled"))
    for verdict, expected in ((bad, True), (good, False)):
        row = task()
        shown = result(replace(row, controls=(control(kind, row, verdict),)), arms=arms)
        shown = replace(shown, tasks=(with_scores(shown),))
        warned = verdicts.warnings(shown)
        assert bool(warned) == expected
        if expected:
            assert words(printed(shown)).startswith(words(f"Warning: {warned[0]}"))
            text = markdown.as_markdown(shown)
            assert text.index(warned[0]) < text.index(wording.headline(shown))
            assert json.loads(documents.as_json(shown))["warnings"] == warned
            assert "Warning: " in latex.as_latex(shown)
        else:
            assert "Warning" not in printed(shown)


def test_the_warning_on_luck_says_how_often_chance_alone_gives_it_and_that_one_seed_shows_no_luck() -> None:
    row = task()
    [several] = verdicts.warnings(
        result(replace(row, controls=(control(ControlKind.SAME_DATA, row, Verdict.IMPROVED),)))
    )
    assert several.endswith("Chance alone gives up to 5 of 100 studies this warning.")
    [alone_row] = one_seed().tasks
    own = control(ControlKind.SAME_DATA, alone_row, Verdict.IMPROVED)
    [alone] = verdicts.warnings(replace(one_seed(), tasks=(replace(alone_row, controls=(own,)),)))
    assert alone.endswith("One training seed shows nothing of that luck, so this is to be expected.")
    assert "Chance" not in alone


# --- numbers ---------------------------------------------------------------------------------------------


def test_the_csv_has_the_verdict_and_its_numbers_on_every_line_of_a_task() -> None:
    shown = result(judged(task(), Verdict.IMPROVED, smallest=0.02), replace(task("drop"), judgement=None))
    table = pd.read_csv(io.StringIO(documents.as_csv(shown)))
    assert list(table.columns[-5:]) == ["profile", "verdict", "p", "p_adjusted", "smallest"]
    own = table[table.task == "mmlu"]
    assert set(own.verdict) == {"improved"}
    assert set(own.profile) == {"lm-eval"}
    assert own[["p", "p_adjusted", "smallest"]].drop_duplicates().to_numpy().tolist() == [[0.0123, 0.0456, 0.02]]
    assert table[table.task == "drop"][["p", "smallest"]].isna().all(axis=None)


def test_the_json_has_the_rule_the_verdict_and_all_its_numbers() -> None:
    document = json.loads(documents.as_json(of_all_kinds()))
    assert document["rule"] == {"confidence": 0.95, "margin": 1.0, "margins": {}, "primary": None}
    assert document["headline"] == wording.headline(of_all_kinds())
    assert document["verdict"] == "inconclusive"
    first = document["tasks"][0]["verdict"]
    assert (first["verdict"], first["p_value"], first["adjusted"], first["margin"]) == (
        "improved",
        0.0123,
        0.0456,
        0.01,
    )
    assert document["tasks"][4]["verdict"]["words"] == "incomparable"
    text = documents.as_json(of_all_kinds())
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_p_value_is_never_printed_as_zero() -> None:
    assert [numbers.probability(one) for one in (None, 0.0, 0.00099, 0.001, 1.0)] == [
        *("-", "< 0.001", "< 0.001", "0.001", "1.000"),
    ]


def test_at_80_columns_no_word_of_a_verdict_is_cut() -> None:
    power = {"smallest": 0.1234, "seeds_needed": 1000, "items_needed": 100_000_000}
    rows = [judged(row, Verdict.INCONCLUSIVE, **power) for row in widest().tasks]
    text = printed(replace(widest(), tasks=tuple(rows)))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "100,000,000" in text
    assert "smallest 12.3 points" in text


# --- LaTeX -----------------------------------------------------------------------------------------------


def test_the_latex_is_one_booktabs_table_whose_rows_have_the_columns_of_its_head() -> None:
    text = latex.as_latex(of_all_kinds())
    assert [text.count(one) for one in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table*}")] == [1, 1, 1, 1]
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 1 + 5
    assert {line.count(" & ") for line in lines} == {8}
    assert "gap / aligned" in lines[0]


@pytest.mark.parametrize(
    "hostile", [r"\input{/etc/passwd}", "100 % of $x_1^2$ & #3 ~ {a} <b> |c|", "two\nlines\t\x1b[0m"]
)
def test_names_cannot_command_latex(hostile: str) -> None:
    text = latex.as_latex(result(task(title=hostile), treated="clean"))
    usual = latex.as_latex(result(task(title="plain")))
    assert len(text.splitlines()) == len(usual.splitlines())
    shown = latex.escaped(hostile)
    assert shown in text
    left = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", shown)
    left = re.sub(r"\\[#$%&_{}]", "", left)
    assert not re.search(r"[\\#$%&_{}~^<>|\x00-\x1f]", left)


def test_the_latex_label_has_no_character_that_labels_cannot_have() -> None:
    assert r"\label{tab:my-study-1-limit-5}" in latex.as_latex(result(study="my_study.1", selection="limit-5"))


def test_a_real_gap_is_judged_without_a_word_of_ours() -> None:
    """From scores to words by compare alone."""
    draw = np.random.default_rng(3)
    base = (draw.random((3, 400)) < 0.3).astype(float)
    gaps = {
        "up": compare.gap(base, np.clip(base + (draw.random((3, 400)) < 0.4), 0, 1)),
        "same": compare.gap(base, base),
    }
    found = compare.judge(gaps, margin=0.01)
    assert verdicts.verdict(gaps["up"], found.tasks["up"]).startswith("improved")
    assert not verdicts.verdict(gaps["same"], found.tasks["same"]).startswith(("improved", "regressed"))
