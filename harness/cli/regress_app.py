"""`harness regress`: the command and its options.

Owns names, defaults and help. Invariant: stdout carries the verdict only; everything else goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli import eval_app
from harness.cli.options import (
    DataFolder,
    DryRun,
    Limit,
    Printed,
    Ranks,
    ReportsFolder,
    ResultsFolder,
    Seeds,
    StudyName,
    TableOrJson,
    Tasks,
    pack_names,
)

NewPack = Annotated[
    str,
    typer.Option(
        metavar="PACK",
        help="The new version: NAME@VERSION, or a TOML file.",
        autocompletion=pack_names,
        show_default=False,
    ),
]
Checks = Annotated[
    str, typer.Option(metavar="CHECKS", help="What may be lost, such as 'mmlu: -1%, *: -3%'.", show_default=False)
]
OldPack = Annotated[
    str,
    typer.Option(
        metavar="PACK", help="The version that it is to replace; default: the study's.", autocompletion=pack_names
    ),
]
Built = Annotated[str, typer.Option(metavar="NAME", help="Variant to build; default: the first that acts on labels.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where a check is not shown to hold.")]
Alpha = Annotated[
    float,
    typer.Option(min=0.0001, max=0.5, metavar="P", help="Largest probability of a wrong pass, and of a wrong failure."),
]
Junit = Annotated[Optional[Path], typer.Option(metavar="FILE", help="Write the verdict as JUnit XML.")]
Summary = Annotated[
    Optional[Path],
    typer.Option(metavar="FILE", help="Write it as Markdown; added to the end of $GITHUB_STEP_SUMMARY."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        short_help="Gate a new version of the filter by its models.",
        epilog="""Examples:

\b
  harness regress --filter alignment@1.2.0 --against alignment@1.1.0 \\
      --gate '*: -3%' --dry-run
  harness regress smollm2 --data DIR --filter my/alignment@1.2.0.toml \\
      --gate 'mmlu: -1%, bbh: -2pt, *: -3%' --strict --junit gate.xml

\b
The gate is checks with commas between them, a task and what it may lose:
  mmlu: -1%    at most 1 % of the score that it has under the old version
  bbh: -2pt    at most 2 percentage points
  drop: +1%    it has to gain 1 % or more
  *: -3%       every task that has no check of its own

\b
Exit codes: 0 passed, or not decided without --strict; 10 a task regressed;
11 not decided or incomparable under --strict; 2 wrong input.
docs/gate.md has a workflow for GitHub.""",
    )(regress)


def regress(
    study: StudyName = "pocket",
    filter: NewPack = ...,  # type: ignore[assignment]
    gate: Checks = ...,  # type: ignore[assignment]
    against: OldPack = "",
    variant: Built = "",
    strict: Strict = False,
    alpha: Alpha = 0.05,
    junit: Junit = None,
    summary: Summary = None,
    seeds: Seeds = None,
    tasks: Tasks = "",
    limit: Limit = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    reports: ReportsFolder = Path("reports"),
    profile: eval_app.Profiles = None,
    ranks: Ranks = None,
    unsafe_exec: eval_app.UnsafeExec = False,
    format: Printed = TableOrJson.TABLE,
    dry_run: DryRun = False,
) -> None:
    """Test whether models trained with a new version of the filter lose more than a gate allows.

    One variant is built under both versions. Only what differs is trained and evaluated; where both leave the same
    chats, nothing is.
    """
    from harness.cli import regress_output
    from harness.commands.ablate import Request
    from harness.commands.regress import regression

    asked = Request(
        study=study,
        seeds=seeds,
        tasks=eval_app.names(tasks),
        limit=limit,
        data_dir=data,
        results=results,
        ranks=ranks,
        profiles=tuple(one.value for one in profile or ()),
        allow_unsafe=unsafe_exec,
    )
    own = regression.Request(
        ablation=asked, new=filter, old=against, variant=variant, gate=gate, strict=strict, alpha=alpha
    )
    as_json = format is TableOrJson.JSON
    regress_output.regress(own, reports=reports, junit=junit, summary=summary, as_json=as_json, dry_run=dry_run)
