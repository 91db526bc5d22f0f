"""The views of a result: one set of numbers, honest words, and bytes that depend on nothing else."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness import compare
from harness.report import documents, latex, markdown, numbers, terminal, wording
from harness.report.result import ArmRow, Result, TaskRow

ARMS = ("base", "aligned", "clean", "random")


def arm(name: str, **changed: Any) -> ArmRow:
    """Return a row of the table of arms."""
    seeds = () if name == "base" else (0, 1, 2)
    given: dict[str, Any] = {
        "name": name,
        "treatment": "keep",
        "chats": 1234,
        "supervised_tokens": 1_234_567,
        "steps": 88,
        "seeds": seeds,
        "dropped": {"full_refusal": 100, "moralising": 12} if name == "clean" else {},
        "weights": {str(seed): f"{seed}" * 64 for seed in seeds} or {"": "b" * 64},
    }
    return ArmRow(**{**given, **changed})


def task(
    name: str = "mmlu",
    *,
    title: str = "MMLU",
    rates: tuple[float, float] = (0.4, 0.6),
    seeds: int = 3,
    items: int = 50,
    arms: tuple[str, ...] = ARMS,
) -> TaskRow:
    """Return a row with real estimates and a real gap of drawn answers; `rates` are the pair's true scores."""
    draw = np.random.default_rng(0)
    answers = {
        name: (draw.random((1 if name == "base" else seeds, items)) < rate).astype(float)
        for name, rate in zip(arms, (0.25, *rates, 0.5), strict=False)
    }
    return TaskRow(
        task=name,
        title=title,
        metric="acc",
        chance=0.25,
        items=items,
        scores={name: compare.interval(one) for name, one in answers.items()},
        gap=compare.gap(answers[arms[1]], answers[arms[2]]),
    )


def result(*tasks: TaskRow, **changed: Any) -> Result:
    """Return a result of the pair aligned, clean."""
    given: dict[str, Any] = {
        "study": "pocket",
        "title": "A small world",
        "reference": "aligned",
        "treated": "clean",
        "seeds": (0, 1, 2),
        "limit": 0,
        "selection": "",
        "profiles": ("lm-eval",),
        "filter": "alignment@0.1.0",
        "funnel": {
            "read": {"pocket": 1500},
            "selected": {"pocket": 1500},
            "cleaned": 1400,
            "mixed": 1400,
            "dropped_by_cleaning": {"duplicate": 60, "empty_turn": 40},
            "labels": {"none": 1000, "full_refusal": 400},
        },
        "training": {"attention": ["sdpa"], "accelerator": ["cpu"], "parameters": [918656], "cut_chats": 3},
        "arms": tuple(arm(name) for name in ARMS),
        "tasks": tasks or (task(), task("drop", title="DROP", rates=(0.5, 0.5))),
    }
    return Result(**{**given, **changed})


def one_seed() -> Result:
    """Return a result of a single training seed."""
    arms = tuple(arm(name, seeds=() if name == "base" else (0,)) for name in ARMS)
    return result(task(seeds=1), seeds=(0,), arms=arms)


def incomparable() -> compare.Incomparable:
    """Return a real refusal to pair."""
    arms = [
        compare.Arm(name=name, items=["a", "b"], prompts=prompts, scores=np.ones((1, 2)))
        for name, prompts in (("aligned", ["1", "2"]), ("clean", ["1", "3"]))
    ]
    refused = compare.pair(*arms)
    assert isinstance(refused, compare.Incomparable)
    return refused


def with_gap(row: TaskRow, gap: compare.Gap | compare.Incomparable) -> TaskRow:
    """Return the row with another gap."""
    return replace(row, gap=gap)


def with_scores(row: TaskRow, scores: dict[str, compare.Estimate]) -> TaskRow:
    """Return the row with other scores."""
    return replace(row, scores=scores)


def printed(shown: Result) -> str:
    """Return what a terminal of 80 columns without colours shows."""
    sink = io.StringIO()
    console = Console(file=sink, width=80, color_system=None, force_terminal=False)
    for part in terminal.result_tables(shown):
        console.print(part)
    return sink.getvalue()


def everywhere(shown: Result) -> dict[str, str]:
    """Return all views of a result."""
    return {
        "json": documents.as_json(shown),
        "csv": documents.as_csv(shown),
        "markdown": markdown.as_markdown(shown),
        "terminal": printed(shown),
        "latex": latex.as_latex(shown),
    }


def words(text: str) -> str:
    """Return a table's words with its frames and line breaks as spaces."""
    return " ".join(re.sub(r"[^\w\s.,:;%+()\[\]=/<>*`'-]", " ", text).split())


# --- JSON ------------------------------------------------------------------------------------------------


def test_the_json_has_the_fields_that_readers_of_it_rely_on() -> None:
    document = json.loads(documents.as_json(result()))
    assert {"study", "reference", "treated", "arms", "tasks"} <= document.keys()
    assert (document["study"], document["reference"], document["treated"]) == ("pocket", "aligned", "clean")
    assert [row["name"] for row in document["arms"]] == list(ARMS)
    for row in document["arms"]:
        assert {"name", "chats", "supervised_tokens", "steps", "seeds"} <= row.keys()
        assert [type(row[name]) for name in ("chats", "supervised_tokens", "steps")] == [int] * 3
        assert row["seeds"] == ([] if row["name"] == "base" else [0, 1, 2])
    assert [row["task"] for row in document["tasks"]] == ["mmlu", "drop"]
    for row in document["tasks"]:
        assert {"task", "items", "scores", "gap"} <= row.keys()
        assert list(row["scores"]) == sorted(ARMS)
        for score in row["scores"].values():
            assert score.keys() == {"mean", "low", "high"}
            assert 0 <= score["low"] <= score["mean"] <= score["high"] <= 1
        assert {"absolute", "relative", "low", "high", "denominator"} <= row["gap"].keys()
        assert row["gap"]["denominator"] == "aligned"


def test_the_gap_is_second_minus_first_and_relative_to_the_first() -> None:
    shown = result()
    for row in json.loads(documents.as_json(shown))["tasks"]:
        first, second = row["scores"]["aligned"]["mean"], row["scores"]["clean"]["mean"]
        assert row["gap"]["absolute"] == pytest.approx(second - first)
        assert row["gap"]["relative"] == pytest.approx((second - first) / first)
        assert row["gap"]["low"] <= row["gap"]["absolute"] <= row["gap"]["high"]
    assert wording.gap_heading(shown) == "gap = clean - aligned, relative = gap / aligned"
    for name in ("markdown", "terminal"):
        assert "gap = clean - aligned, relative = gap / aligned" in words(everywhere(shown)[name]), name


def test_there_is_no_relative_gap_where_the_reference_is_near_zero() -> None:
    shown = result(task(rates=(0.0, 0.3)))
    gap = json.loads(documents.as_json(shown))["tasks"][0]["gap"]
    assert gap["absolute"] > 0.1
    assert gap["relative"] is None
    assert pd.read_csv(io.StringIO(documents.as_csv(shown)))["relative"].isna().all()
    for text in (markdown.as_markdown(shown), printed(shown)):
        assert "A dash: the relative gap's denominator is not distinguishable from zero." in words(text)
    assert "A dash" not in markdown.as_markdown(result())


def test_arms_that_do_not_pair_have_no_number_and_say_why() -> None:
    shown = result(task(), with_gap(task("drop", title="DROP"), incomparable()))
    gap = json.loads(documents.as_json(shown))["tasks"][1]["gap"]
    assert [gap[name] for name in ("absolute", "relative", "low", "high")] == [None] * 4
    assert gap["denominator"] == "aligned"
    assert "1 of 2 items were asked differently" in gap["incomparable"]
    table = pd.read_csv(io.StringIO(documents.as_csv(shown)))
    assert table[table.task == "drop"][["gap", "gap_low", "gap_high", "relative"]].isna().all(axis=None)
    for text in (markdown.as_markdown(shown), printed(shown)):
        assert "incomparable: prompts_differ" in words(text)


# --- what may be claimed ---------------------------------------------------------------------------------


def test_one_seed_speaks_of_these_checkpoints_and_never_of_the_data() -> None:
    for name, text in everywhere(one_seed()).items():
        plain = words(text)
        assert "effect of the data" not in plain
        assert "difference between the data" not in plain
        assert "the variants differ" not in plain
        if name != "csv":
            assert "difference between these checkpoints" in plain, name
    assert (
        json.loads(documents.as_json(one_seed()))["tasks"][0]["gap"]["scope"] == "difference between these checkpoints"
    )


def test_several_seeds_speak_of_the_variants_and_of_how_many_seeds() -> None:
    for name, text in everywhere(result()).items():
        assert "these checkpoints" not in text, name
        if name != "csv":
            assert "difference between the variants over 3 training seeds" in words(text), name


def test_a_comparison_with_the_base_speaks_of_checkpoints_however_many_seeds_the_other_has() -> None:
    """The base is one checkpoint: nothing says how another pretraining would have come out."""
    base, other = np.zeros((1, 50)), (np.arange(150).reshape(3, 50) % 3 == 0).astype(float)
    row = with_gap(task(), compare.gap(base, other))
    for name, text in everywhere(result(row, reference="base", treated="aligned")).items():
        assert "difference between the variants" not in words(text), name
        assert "difference between the data" not in words(text), name
        if name != "csv":
            assert "difference between these checkpoints" in words(text), name


def test_a_limited_run_says_that_it_is_not_the_whole_benchmark() -> None:
    for name in ("markdown", "terminal"):
        assert "At most 50 items per task" in words(everywhere(result(limit=50))[name])
        assert "At most" not in words(everywhere(result())[name])
    assert json.loads(documents.as_json(result(limit=50)))["limit"] == 50


# --- CSV and Markdown ------------------------------------------------------------------------------------


def test_the_csv_is_one_line_a_task_and_arm_with_the_numbers_of_the_json() -> None:
    table = pd.read_csv(io.StringIO(documents.as_csv(result())))
    document = json.loads(documents.as_json(result()))
    assert len(table) == len(ARMS) * 2
    assert list(table.columns[:5]) == ["study", "task", "metric", "items", "arm"]
    for row in document["tasks"]:
        for name, score in row["scores"].items():
            (line,) = table[(table.task == row["task"]) & (table.arm == name)].to_dict("records")
            assert [line[key] for key in ("score", "low", "high")] == list(
                map(pytest.approx, map(score.get, ("mean", "low", "high")))
            )
            assert line["gap"] == pytest.approx(row["gap"]["absolute"])
            assert line["relative"] == pytest.approx(row["gap"]["relative"])
            assert (line["reference"], line["treated"]) == ("aligned", "clean")
            assert line["seeds"] == (0 if name == "base" else 3)


def test_the_csv_survives_commas_quotes_and_line_breaks_in_names() -> None:
    hostile = 'mm,lu"\n2'
    table = pd.read_csv(io.StringIO(documents.as_csv(result(task(hostile)))))
    assert set(table.task) == {hostile}
    assert len(table) == len(ARMS)


@pytest.mark.parametrize("view", ["json", "csv", "markdown", "terminal", "latex"])
def test_equal_results_give_equal_bytes_without_times_or_paths(view: str) -> None:
    text = everywhere(result())[view]
    assert text == everywhere(result())[view]
    text = text.replace(" \\\\\n", "\n") if view == "latex" else text  # the end of a row
    assert not re.search(r"\b20\d\d-\d\d|\d\d:\d\d|seconds|tok/s", text)
    assert not re.search(r"(^|[\s`\"(])/\w+/|results/|objects/|\\\\", text)


def test_the_markdown_names_every_arm_its_budget_and_its_weights() -> None:
    text = markdown.as_markdown(result())
    for name in ARMS:
        assert f"| {name} | keep | 1,234 | 1,234,567 | 88 | {'-' if name == 'base' else '0 1 2'} |" in text
        assert f"| {name} | {'-' if name == 'base' else '2'} | `{('b' if name == 'base' else '2') * 16}` |" in text
    assert "- clean: 1,234 chats (dropped: full_refusal 100, moralising 12)" in text
    assert "dropped: duplicate 60, empty_turn 40" in text


def test_every_row_of_a_markdown_table_has_the_columns_of_its_head() -> None:
    text = markdown.as_markdown(result(task(title="a|b")))
    blocks = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(blocks) == 3
    for block in blocks:
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in block} == {len(re.findall(r"(?<!\\)\|", block[0]))}


# --- terminals -------------------------------------------------------------------------------------------


def widest() -> Result:
    """Return a result whose every number is as wide as it can be."""
    full = compare.Estimate(mean=1.0, low=1.0, high=1.0)
    gap = compare.gap(np.full((3, 8), 0.0625), np.full((3, 8), 1.0))
    assert gap.relative is not None
    rows = [
        TaskRow(
            task=name,
            title=title,
            metric="exact_match",
            chance=0.25,
            items=14042,
            scores=dict.fromkeys(ARMS, full),
            gap=gap,
        )
        for name, title in (("pocket_humaneval", "pocket HumanEval"), ("mmlu", "MMLU"))
    ]
    arms = tuple(arm(name, chats=100_000, supervised_tokens=123_456_789, steps=12_345) for name in ARMS)
    return result(*rows, arms=arms)


def test_at_80_columns_no_number_is_cut_or_broken() -> None:
    text = printed(widest())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("100.0-100.0") == len(ARMS) * 2
    assert text.count("14042") == 2
    gap = widest().tasks[0].gap
    for number in (numbers.absolute(gap), numbers.relative(gap)):
        assert text.count(number) == 2, number
    for number in ("100,000", "123,456,789", "12,345"):
        assert text.count(number) == len(ARMS), number
    assert text.count("HumanEval") == 2


def test_at_80_columns_many_arms_and_long_names_cut_no_number_either() -> None:
    names = ("base", *(f"a_variant_with_quite_a_long_name_{number}" for number in range(8)))
    rows = [with_scores(row, dict.fromkeys(names, row.scores["base"])) for row in widest().tasks]
    text = printed(result(*rows, arms=tuple(arm(name, supervised_tokens=123_456_789) for name in names)))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("100.0-100.0") == len(names) * 2
    assert text.count("123,456,789") == len(names)
    long = widest().tasks[0]
    refused = with_gap(task(title="A task with a title that is much too long for any table"), incomparable())
    text = printed(result(refused, long))
    assert max(map(len, text.splitlines())) <= 80
    assert "incomparable: prompts_differ" in text
    assert numbers.absolute(long.gap) in text


def test_the_terminal_shows_the_numbers_of_the_json() -> None:
    document, text = json.loads(documents.as_json(result())), printed(result())
    for row in document["tasks"]:
        for score in row["scores"].values():
            assert f"{100 * score['mean']:.1f}" in text
            assert f"{100 * score['low']:.1f}-{100 * score['high']:.1f}" in text
        assert f"{100 * row['gap']['absolute']:+.1f} [{100 * row['gap']['low']:+.1f}, " in text


@pytest.mark.parametrize("name", ["[red]x", "[/]", "[link=http://x]y[/link]", "a[b]", "\\[z"])
def test_markup_in_names_is_shown_and_not_obeyed(name: str) -> None:
    arms = ("base", name, "clean")
    shown = result(task(title=f"T {name}", arms=arms), study=name, reference=name, arms=tuple(arm(one) for one in arms))
    text = printed(shown)
    assert f"{name}: scores in per cent" in text
    assert f"gap = clean - {name}" in text
    assert f"T {name}" in text, "in the table of gaps"
    assert re.search(rf"│?\s*{re.escape(name)}\s+│", text), "in the table of budgets"
