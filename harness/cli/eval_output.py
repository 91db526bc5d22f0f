"""What `harness eval` prints.

Owns the way from the use case to stdout. Invariant: with --format json stdout is one JSON document and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.cli.bars import Bars
from harness.cli.console import console, print_json, quiet_stdout
from harness.commands.evaluate import Evaluation, Request, Scores, TaskScore
from harness.errors import InputError
from harness.evaluate.engines import EngineName
from harness.report.numbers import counted
from harness.study.model import Evaluation as Asked


def evaluate(
    model: str,
    tasks: tuple[str, ...],
    *,
    profiles: tuple[str, ...],
    asked: Mapping[str, Any],
    engine: str,
    server: str,
    seed: int,
    tasks_path: Path | None,
    data_dir: Path | None,
    results: Path,
    allow_unsafe: bool,
    as_json: bool,
) -> None:
    """Evaluate a checkpoint and print its scores."""
    _require(tasks, asked)
    request = Request(
        model=model,
        tasks=tasks,
        asked=Asked(**asked),
        profiles=profiles,
        tasks_path=tasks_path,
        data_dir=data_dir,
        results=results,
        engine=EngineName(engine),
        server=server,
        seed=seed,
        allow_unsafe=allow_unsafe,
    )
    with Bars() as bars, quiet_stdout():
        evaluation = Evaluation(request, bars)
        scores = evaluation.run()
        ran = len(evaluation.runner.ran)
    if as_json:
        print_json(asdict(scores))
    else:
        console().print(_table(scores))
        for line in _notes(scores):
            console().print(Text(line))
    sys.stdout.flush()
    proof = str(evaluation.engine.facts.get("proof", ""))
    if "not compared" in proof:
        bars.note(f"The weights in the engine were {proof}. Every checkpoint gets an engine of its own.")
    starts = evaluation.engine.starts
    bars.note(
        f"{ran} of {3 * len(scores.tasks)} stages ran; the engine was"
        f" {'not started' if not starts else 'started once' if starts == 1 else f'started {starts} times'}."
    )


def _require(tasks: tuple[str, ...], asked: Mapping[str, Any]) -> None:
    """Raise where options have no sense together, in the words of the command line."""
    if not tasks:
        raise InputError("--tasks names no task. `harness tasks` lists those that ship; lm-eval's go by their names.")
    if asked["samples"] > 1 and not asked["temperature"]:
        raise InputError("--samples needs a --temperature above 0: greedy answers are all alike.")
    if any(not 1 <= k <= asked["samples"] for k in asked["pass_at"]):
        raise InputError(
            f"--pass-at takes values of k from 1 to the number of --samples, which is {asked['samples']}; given:"
            f" {','.join(map(str, asked['pass_at']))}."
        )


def _table(scores: Scores) -> Table:
    model = scores.model if len(scores.model) < 40 else f"...{scores.model[-37:]}"
    table = Table(title=Text(f"{model} ({scores.checkpoint[:12]})"), title_justify="left", pad_edge=False)
    table.add_column("task", overflow="fold")
    if len({row.profile for row in scores.tasks}) > 1:
        table.add_column("profile", no_wrap=True)
    table.add_column("metric", overflow="fold")
    for name in ("items", "score", "+-", "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores.tasks:
        profile = [row.profile] if len({one.profile for one in scores.tasks}) > 1 else []
        value = row.metrics.get(row.primary)
        chance = f"{100 * row.chance:.1f}" if row.chance else ""
        error = "" if row.error is None else f"{100 * row.error:.1f}"
        table.add_row(*map(Text, [row.title, *profile, row.primary, str(row.items), _number(value), error, chance]))
        for metric in sorted(set(row.metrics) - {row.primary}, key=_natural):
            if metric.startswith("pass_at_"):
                table.add_row(*map(Text, ["", *([""] if profile else []), metric, "", _number(row.metrics[metric])]))
    return table


def _natural(metric: str) -> tuple[int, str]:
    """Order pass@2 before pass@10."""
    return len(metric), metric


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if 0 <= value <= 1 else f"{value:.3f}"


def _notes(scores: Scores) -> list[str]:
    lines = ["Shares in per cent; +- is one standard error over items, as if they were independent."]
    if scores.limit:
        lines.append(
            f"At most {counted(scores.limit, 'item')} per task, spread evenly over its subtasks: not the whole"
            " benchmark."
        )
    several = len({row.profile for row in scores.tasks}) > 1
    for row in scores.tasks:
        notes = list(_losses(row))
        if notes:
            lines.append(f"{row.title}{f' ({row.profile})' if several else ''}: {'; '.join(notes)}.")
    if scores.damaged_chunks:
        lines.append(f"{scores.damaged_chunks} damaged chunks of stored answers were set aside and asked again.")
    return lines


def _losses(row: TaskScore) -> Iterator[str]:
    """Yield what stands between the score and the questions."""
    if row.unscored:
        yield f"{row.unscored} items have no {row.primary} and are left out of it"
    if "judge" in row.facts:
        fixed = row.facts.get("corrected")
        told = "whose error was not measured"
        if fixed is not None:
            low, high = 100 * fixed["low"], 100 * fixed["high"]
            told = f"corrected for its measured error {100 * fixed['value']:.1f} [{low:.1f}, {high:.1f}]"
        yield f"{row.primary} as {row.facts['judge']} judges, {told}"
    if row.facts["shortened_prompts"]:
        yield f"{row.facts['shortened_prompts']} prompts were too long and lost shots"
    if row.facts["unfinished"]:
        yield f"{row.facts['unfinished']} answers ended at the token limit"
    if row.metrics.get("unextracted"):
        yield f"no answer was found in {100 * row.metrics['unextracted']:.1f} % of the texts"
    if row.facts.get("isolation", "namespaces") != "namespaces":
        yield f"programs were run with less isolation than usual ({row.facts['isolation']})"
