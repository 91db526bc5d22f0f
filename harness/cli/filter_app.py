"""`harness filter`: the commands and their options.

Owns names, defaults and help. Invariant: stdout carries results only; everything else goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import (
    Printed,
    TableOrJson,
    pack_names,
)

filters = typer.Typer(
    name="filter",
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Label aligned answers; measure and compare filters.",
    help="Label aligned answers, measure the filter against people, compare its versions.",
)

_FORMATS = "sharegpt, openai, alpaca, oasst, guanaco, dolly or pku-saferlhf"
Pack = Annotated[
    str,
    typer.Option(metavar="PACK", help="Filter pack, NAME@VERSION; default: the newest one.", autocompletion=pack_names),
]
Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Chats: .json, .jsonl (also .gz, .zst) or .parquet, format detected.")
]
InputFormat = Annotated[str, typer.Option("--input-format", metavar="NAME", help=f"Format of INPUT: {_FORMATS}.")]


@filters.command(
    short_help="Write a label and its reason per assistant turn.",
    epilog="""Examples:

\b
  harness filter label chats.jsonl -o labelled.jsonl
  harness filter label chats.json.gz | jq 'select(.label == "full_refusal")'""",
)
def label(
    input: Input,
    pack: Pack = "",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", metavar="FILE", help="Where to write; default: stdout.")
    ] = None,
    input_format: InputFormat = "auto",
    keep_truncated: Annotated[
        bool, typer.Option("--keep-truncated", help="Use the whole chats of a file that is cut off.")
    ] = False,
) -> None:
    """Write a label, a rule id and a character span per assistant turn, as JSON lines.

    Nothing is dropped. The chat ids and turn numbers are those that a variant's file of answers names.
    """
    from harness.cli import filter_output

    filter_output.label(input, pack=pack, output=output, format=input_format, keep_truncated=keep_truncated)


@filters.command(
    short_help="Measure a pack against labels that people gave.",
    epilog="""Examples:

\b
  harness filter audit --gold answers.jsonl
  harness filter audit --gold answers.jsonl --pack alignment@1.0.0""",
)
def audit(
    gold: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Answers with a column 'label' (and 'model'): chats, or {user, text, label}."
        ),
    ],
    pack: Pack = "",
    format: Printed = TableOrJson.TABLE,
    misses: Annotated[int, typer.Option(min=0, metavar="N", help="How many of the worst misses are shown.")] = 10,
) -> None:
    """Measure a pack against labels that people gave: precision, recall and F1 with intervals, per label and model."""
    from harness.cli import filter_output

    filter_output.audit(gold, pack=pack, as_json=format is TableOrJson.JSON, misses=misses)


@filters.command(
    short_help="Show which chats a new version flags, and which not.",
    epilog="""Exit code 10 when a gold case that BEFORE labels right is wrong under AFTER.

Examples:

\b
  harness filter diff alignment@1.1.0 alignment@1.2.0 chats.jsonl
  harness filter diff alignment@1.1.0 alignment@1.2.0 chats.jsonl \\
      --gold answers.jsonl""",
)
def diff(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="The older pack, NAME@VERSION.", autocompletion=pack_names)
    ],
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="The newer pack, NAME@VERSION.", autocompletion=pack_names)
    ],
    input: Input,
    gold: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Answers with labels, as for `harness filter audit`.")
    ] = None,
    input_format: InputFormat = "auto",
    format: Printed = TableOrJson.TABLE,
    samples: Annotated[int, typer.Option(min=0, metavar="N", help="How many changed turns are shown per rule.")] = 3,
    keep_truncated: Annotated[
        bool, typer.Option("--keep-truncated", help="Use the whole chats of a file that is cut off.")
    ] = False,
) -> None:
    """Show which chats a new version of a filter flags and which it no longer flags, by rule, with samples."""
    from harness.cli import filter_output

    filter_output.diff(
        before,
        after,
        input,
        gold=gold,
        format=input_format,
        as_json=format is TableOrJson.JSON,
        samples=samples,
        keep_truncated=keep_truncated,
    )
