"""Commands and their options.

Owns names, defaults and help of the command line. Invariant: stdout carries results only, in the format
that was asked for; progress, notes and errors go to stderr.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import eval_app, explain_app, leaderboard_app, power_app, regress_app
from harness.cli.data_app import data as data_app
from harness.cli.filter_app import filters as filter_app
from harness.cli.options import (
    DataFolder,
    DryRun,
    Limit,
    Ranks,
    ReportsFolder,
    ResultsFolder,
    Seeds,
    StudyName,
    Tasks,
    Trackers,
    Variant,
    run_names,
    table_names,
)

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: the boxes of rich cost half of the time that `harness --help` takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What does a change of the fine-tuning data really do to a model?",
    epilog="Begin with `harness ablate --variant aligned,clean`; `harness studies` lists what else there is.",
)


class Format(enum.StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """What does a change of the fine-tuning data really do to a model?"""
    if version:
        from harness import __version__

        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.command(
    short_help="Train and evaluate two variants of a study and compare.",
    epilog="""Examples:

\b
  harness ablate                                    the default study, pocket
  harness ablate --variant aligned,clean --seeds 1  a quick look, one seed
  harness ablate smollm2 --data DIR --limit 57 --format json > result.json
  harness ablate poison-of-alignment --dry-run      what it would cost
  harness ablate my-study.toml --results /large/disk
  harness ablate --tracker mlflow                   show it there too""",
)
def ablate(
    study: StudyName = "pocket",
    variant: Variant = "",
    seeds: Seeds = None,
    tasks: Tasks = "",
    limit: Limit = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    reports: ReportsFolder = Path("reports"),
    format: Annotated[Format, typer.Option(help="What is printed on stdout.")] = Format.TABLE,
    profile: eval_app.Profiles = None,
    ranks: Ranks = None,
    unsafe_exec: eval_app.UnsafeExec = False,
    tracker: Trackers = None,
    dry_run: DryRun = False,
) -> None:
    """Clean, fork, train, evaluate and compare two variants of a study.

    Stages that are done already are found by the content of their inputs and not run again; an interrupted
    run continues where it stopped.
    """
    from harness.cli import ablate_output
    from harness.commands.ablate import Request

    ablate_output.ablate(
        Request(
            study=study,
            pair=eval_app.names(variant),
            seeds=seeds,
            tasks=eval_app.names(tasks),
            limit=limit,
            data_dir=data,
            results=results,
            ranks=ranks,
            profiles=tuple(one.value for one in profile or ()),
            allow_unsafe=unsafe_exec,
        ),
        reports=reports,
        format=format.value,
        dry_run=dry_run,
        trackers=[one.value for one in tracker or ()],
    )


@app.command(
    short_help="Write reports again from the records alone.",
    epilog="""Examples:

\b
  harness report                  every run in results/
  harness report pocket           the runs of one study
  harness report smollm2/limit-57 --format json
  harness report --published poison-of-alignment    what its table supports""",
)
def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A study, or one run of it such as pocket/whole; default: all.",
            autocompletion=run_names,
        ),
    ] = "",
    results: ResultsFolder = Path("results"),
    reports: ReportsFolder = Path("reports"),
    format: Annotated[Format, typer.Option(help="What is printed on stdout.")] = Format.TABLE,
    published: Annotated[
        str, typer.Option(metavar="NAME", help="Print what a published table can support.", autocompletion=table_names)
    ] = "",
) -> None:
    """Write reports again from the records, without running anything."""
    if published:
        from harness.cli import leaderboard_output

        leaderboard_output.show_published(published, run=run, format=format.value)
        return
    from harness.cli import ablate_output

    ablate_output.report(run, results=results, reports=reports, format=format.value)


# In the order in which `harness --help` lists them.
regress_app.register(app)
leaderboard_app.register(app)
power_app.register(app)
explain_app.register(app)
eval_app.register(app)
app.add_typer(data_app)
app.add_typer(filter_app)


@app.command()
def studies() -> None:
    """List the shipped studies."""
    from harness.cli import ablate_output

    ablate_output.studies()


@app.command()
def tasks() -> None:
    """List the tasks, with chance levels and sources."""
    from harness.cli import ablate_output

    ablate_output.tasks()


@app.command()
def doctor() -> None:
    """Say what is installed and what is missing."""
    from harness.cli import diagnosis

    diagnosis.doctor()
