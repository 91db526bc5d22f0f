"""The stage graph of a dry run, as people see it."""

from __future__ import annotations

import io

from rich.console import Console

from harness.report import graph


def test_markup_in_names_is_shown_in_a_dry_run_too() -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=80, color_system=None)
    console.print(graph.stage_table("[/] study", [("variant/[/]", "cached", "clean, [red]x")]))
    console.print(graph.cost_table([{"arm": "[/] x 3", "chats": "1"}], title="[b]title"))
    assert all(part in sink.getvalue() for part in ("[/] study", "variant/[/]", "[red]x", "[/] x 3", "[b]title"))


def test_the_answers_of_one_checkpoint_are_folded_into_one_row() -> None:
    stages: list[tuple[str, str, tuple[str, ...]]] = [("train/a/0", "cached", ("variant/a", "base"))]
    for task_name, state in (("mmlu", "cached"), ("drop", "will run")):
        stages.append((f"predict/a/0/{task_name}", state, ("train/a/0", f"items/{task_name}")))
        stages.append((f"score/a/0/{task_name}", state, (f"items/{task_name}", f"predict/a/0/{task_name}")))
    assert graph.fold(stages) == [
        ("train/a/0", "cached", "variant/a, base"),
        ("predict, score/a/0", "2 of 4 cached", "train/a/0 x 2 tasks"),
    ]


def test_bytes_are_given_in_a_unit_that_fits() -> None:
    assert [graph.gib(2**20), graph.gib(2**30), graph.gib(5 * 2**40)] == ["1 MiB", "1.0 GiB", "5,120.0 GiB"]
