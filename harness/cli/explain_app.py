"""`harness explain` and `harness reproduce`: the commands and their options.

Owns names, defaults and help. Invariant: stdout carries results only; everything else goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli import eval_app
from harness.cli.options import (
    DataFolder,
    Limit,
    Printed,
    ResultsFolder,
    Seeds,
    TableOrJson,
    Tasks,
    Variant,
    study_names,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        short_help="Say why a stage runs, or what a record is made from.",
        epilog="""Examples:

\b
  harness explain train/clean/0    a stage of pocket: cached, or why not
  harness explain score/clean/0/mmlu smollm2 --data DIR --limit 57
  harness explain 7a9ffa8c         a record by its key: down to its sources
  harness explain a672150f         the same by its weights, as in reports
  harness explain train/clean/0 --format json | jq .causes""",
    )(explain)
    app.command(
        epilog="""Examples:

\b
  harness reproduce 7a9ffa8c                make it and all before it again
  harness reproduce 7a9ffa8c --from-inputs  make only it, from kept inputs
  harness reproduce 7a9ffa8c --in /large/disk/again --data DIR
  harness reproduce 7a9ffa8c --study my-study.toml

Exit codes: 0 identical, 10 different, 2 bad input."""
    )(reproduce)


def explain(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A stage such as train/clean/0, or the first digits of a record's key.")
    ],
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="Shipped study or path of a TOML file, for a stage.", autocompletion=study_names
        ),
    ] = "pocket",
    variant: Variant = "",
    seeds: Seeds = None,
    tasks: Tasks = "",
    limit: Limit = None,
    profile: eval_app.Profiles = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Say why a stage is not cached, field by field, or what a record was made from.

    For a stage: its question is compared with the nearest one that is recorded, and what differs is followed to
    its first cause. For a record: its payload, its facts, its lineage up to the sources, the runs that use it. Nothing
    is run, and no object has to be there.
    """
    from harness.cli import explain_output
    from harness.commands.ablate import Request

    explain_output.print_explanation(
        key,
        Request(
            study=study,
            pair=eval_app.names(variant),
            seeds=seeds,
            tasks=eval_app.names(tasks),
            limit=limit,
            data_dir=data,
            results=results,
            profiles=tuple(one.value for one in profile or ()),
        ),
        as_json=format is TableOrJson.JSON,
    )


def reproduce(
    record: Annotated[str, typer.Argument(metavar="KEY", help="The first digits of a record's key.")],
    results: ResultsFolder = Path("results"),
    folder: Annotated[
        Optional[Path],
        typer.Option("--in", metavar="FOLDER", help="Fresh folder to work in; default: reproduced/<first digits>."),
    ] = None,
    data: DataFolder = None,
    study: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="The study's file, beside which the files that it names are looked for."),
    ] = None,
    from_inputs: Annotated[
        bool, typer.Option("--from-inputs", help="Copy the kept inputs, verified, instead of making them again.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on where packages, code, settings or files are not the recorded ones.")
    ] = False,
    unsafe_exec: eval_app.UnsafeExec = False,
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Make a record again in a fresh folder and compare digests.

    The study is taken from the run that the record answers for, not from the study file of today, and is run with the
    code and packages of today: what differs of them is said first. The results folder is only read.
    """
    from harness.cli import explain_output
    from harness.commands.reproduce import Request

    explain_output.print_reproduction(
        Request(
            record=record,
            results=results,
            folder=folder,
            data_dir=data,
            study_file=study,
            from_inputs=from_inputs,
            anyway=anyway,
            allow_unsafe=unsafe_exec,
        ),
        as_json=format is TableOrJson.JSON,
    )
