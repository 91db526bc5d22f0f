"""What `harness ablate`, `rescore`, `report`, `studies` and `tasks` print.

Owns the way from a use case to stdout and to the report files. Invariant: with --format json stdout is one
JSON document and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness import layout
from harness import trackers as tracking
from harness.cli.bars import Bars
from harness.cli.console import console, quiet_stdout
from harness.commands.ablate import Ablation, Request
from harness.commands.report import stored, write
from harness.errors import InputError
from harness.evaluate import catalog
from harness.report import documents, graph, latex, markdown, terminal
from harness.report.numbers import counted
from harness.report.result import Result
from harness.study import load_study
from harness.study.choice import runs
from harness.train import budget


def ablate(request: Request, *, reports: Path, format: str, dry_run: bool, trackers: Sequence[str] = ()) -> None:
    """Run or only plan a study, print its result, write its report, and show it in trackers."""
    names = [tracking.TrackerName(name) for name in trackers]
    if names and dry_run:
        raise InputError("--tracker has no effect with --dry-run: nothing is run that could be shown. Leave one out.")
    tracking.require(names)
    layout.require_folder("--reports", reports)
    if not dry_run:
        # Before the trainings, not after them.
        layout.require_writable("--reports", reports)
    with Bars() as bars, quiet_stdout():
        ablation = Ablation(request, bars, dry=dry_run)
        if not dry_run:
            result = ablation.run()
            ran = len(ablation.runner.ran)
    if dry_run:
        plan(ablation)
        return
    folder = write(result, reports, request.results)
    show(result, format)
    total = len(ablation.stages)
    with quiet_stdout():
        failures = tracking.log(names, tracking.runs_of(result, folder)) if names else []
    bars.note(f"{ran} of {total} stages ran, {total - ran} {'was' if total - ran == 1 else 'were'} cached.")
    bars.note(f"Records: {ablation.store.ledger.root}   Report: {folder / 'index.html'}", wrap=False)
    for failure in failures:
        bars.note(f"Warning: {failure}")


def report(study: str, *, results: Path, reports: Path, format: str) -> None:
    """Write the reports of stored runs again and print them."""
    layout.require_folders(results=results, data_dir=None)
    layout.require_writable("--reports", reports)
    found = list(stored(results, study=study))
    if format in ("json", "csv") and len(found) > 1:
        names = ", ".join(result.run for result in found)
        raise InputError(f"--format {format} prints one report, and there are {len(found)}: {names}. Name one.")
    for result in found:
        folder = write(result, reports, results)
        show(result, format)
        # Not wrapped: it is there to be opened.
        Console(stderr=True).print(f"Report: {folder / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


def show(result: Result, format: str) -> None:
    """Print a result on stdout."""
    if format == "table":
        out = console()
        for part in terminal.result_tables(result, width=out.width):
            out.print(part)
    else:
        views = {
            "json": documents.as_json,
            "csv": documents.as_csv,
            "markdown": markdown.as_markdown,
            "latex": latex.as_latex,
        }
        sys.stdout.write(views[format](result))
    sys.stdout.flush()


def plan(ablation: Ablation) -> None:
    """Print the stage graph and the budgets of a dry run."""
    states = ablation.states()
    rows = [(stage.name, state.value, tuple(stage.inputs.values())) for stage, state in states]
    todo = sum(state != "cached" for _, state, _ in rows)
    out = console()
    title = f"{ablation.study.name}: {len(rows)} stages, {len(rows) - todo} cached, {todo} will run"
    out.print(graph.stage_table(title, graph.fold(rows)))
    forecast = ablation.forecast()
    trainings = sum(arm.seeds for arm in forecast)
    mark = {True: "~", False: ""}
    out.print(
        graph.cost_table(
            [
                {
                    "arm": f"{arm.arm} x {arm.seeds}",
                    "chats": f"{mark[arm.estimated]}{arm.chats:,}",
                    "tokens": f"{mark[arm.estimated]}{arm.tokens:,}",
                    "steps": f"{mark[arm.estimated]}{arm.steps:,}",
                    "memory per rank": f"~{graph.gib(arm.footprint.memory_per_rank)}",
                    "checkpoint": f"~{graph.gib(arm.footprint.checkpoint)}",
                }
                for arm in forecast
            ],
            title="one training of each arm (~ estimated)",
        )
    )
    recipe, machine = ablation.recipe, ablation.machine
    model = forecast[0].parameters
    saved = recipe.epochs * recipe.checkpoints_per_epoch
    lines = [
        f"Recipe {recipe.name}: ZeRO-{recipe.zero_stage}, {recipe.precision}, batch {recipe.global_batch} ="
        f" {counted(machine.ranks, 'rank')} x {counted(machine.micro_batch, 'chat')}"
        f" x {budget.accumulation(recipe, machine)} accumulation.",
        f"Model: {model:,} parameters; {counted(saved, 'checkpoint')} a training, {counted(trainings, 'training')}:"
        f" {graph.gib(saved * trainings * forecast[0].footprint.checkpoint)} in all."
        if model
        else "Model: size not known before the base model is there.",
        f"Items: {', '.join(ablation.choice.definitions)}; {ablation.choice.limit or 'all'} per task, for"
        f" {len(runs(ablation.choice))} checkpoints.",
    ]
    for line in lines:
        out.print(Text(line))


def studies() -> None:
    """List the shipped studies."""
    table = Table(title="studies", title_justify="left", pad_edge=False)
    table.add_column("name", no_wrap=True)
    for name in ("what it compares", "variants", "seeds"):
        table.add_column(name)
    for name in layout.names("training", "studies"):
        study, _ = load_study(name)
        table.add_row(name, escape(study.title), ", ".join(study.variants), str(len(study.seeds)))
    console().print(table)
    console().print(f"Files: {layout.shipped('training') / 'studies'}", soft_wrap=True)


def tasks() -> None:
    """List the shipped tasks."""
    table = Table(title="tasks", title_justify="left", pad_edge=False, show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for name in ("chance", "shots", "parts"):
        table.add_column(name, justify="right")
    table.add_column("items from", overflow="fold")
    for info in catalog.tasks().values():
        table.add_row(
            info.name,
            info.primary,
            f"{100 * info.chance:.0f} %",
            str(info.shots),
            str(info.subtasks),
            info.source,
        )
    console().print(table)
    profiles = sorted({profile for name in catalog.tasks() for profile in catalog.profiles(name)})
    console().print(
        f"Each is defined under the profiles {', '.join(profiles)} (--profile), safety tasks as they are alone."
    )
    console().print("Any other task of lm-eval goes by its name there; --tasks-path DIR brings your own.")
