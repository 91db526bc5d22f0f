"""`harness eval`, `harness rescore` and `harness predictions`: the commands and their options.

Owns names, defaults and help. Invariant: stdout carries results only; everything else goes to stderr.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from harness.cli.options import (
    DataFolder,
    Limit,
    Printed,
    ReportsFolder,
    ResultsFolder,
    Seeds,
    StudyName,
    TableOrJson,
    Tasks,
    Variant,
    study_names,
    task_names,
)


class Profile(enum.StrEnum):
    """How answers are asked for and scored."""

    LM_EVAL = "lm-eval"
    INSTRUCTEVAL = "instructeval"
    STRICT = "strict"


class EngineOption(enum.StrEnum):
    """What computes answers here."""

    VLLM = "vllm"
    TRANSFORMERS = "transformers"


class Precision(enum.StrEnum):
    """Precision class of inference."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


Profiles = Annotated[
    Optional[list[Profile]],
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Scoring profile: lm-eval, instructeval or strict; may be given several times.",
    ),
]
UnsafeExec = Annotated[
    bool, typer.Option("--unsafe-exec", help="Run generated programs even where the kernel does not isolate them.")
]
Checkpoint = Annotated[
    str,
    typer.Argument(metavar="CHECKPOINT", help="Model folder or hub name; with --server the model's name there."),
]
Asked = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Tasks, with commas between: shipped ones, or any of lm-eval.",
        autocompletion=task_names,
    ),
]
ItemLimit = Annotated[
    int, typer.Option(min=0, metavar="N", help="Items per task, spread evenly over its subtasks; 0 = all.")
]
EngineChoice = Annotated[Optional[EngineOption], typer.Option(help="What computes the answers; default: vllm.")]
Server = Annotated[str, typer.Option(metavar="URL", help="Ask an OpenAI-compatible server instead.")]
Dtype = Annotated[Optional[Precision], typer.Option(help="Precision of inference; default: float32.")]
MaxLength = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Longest prompt plus answer, tokens; a longer prompt loses shots, then is refused."
    ),
]
MaxNewTokens = Annotated[
    int, typer.Option(min=0, metavar="N", help="Cap on generated tokens below a task's own; 0 = none.")
]
Samples = Annotated[int, typer.Option(min=1, metavar="N", help="Answers per item; pass@k is estimated from them.")]
PassAt = Annotated[str, typer.Option(metavar="K,K", help="Values of k for pass@k, the one to show first; default: 1.")]
Temperature = Annotated[
    Optional[float],
    typer.Option(min=0.0, metavar="T", help="Sampling temperature; 0 = greedy; default: the task's own."),
]
SamplingSeed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of sampled answers.")]
TasksPath = Annotated[Optional[Path], typer.Option(metavar="DIR", help="Folder of further lm-eval task files.")]

predictions = typer.Typer(
    name="predictions",
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Look at what checkpoints answered, item by item.",
    help="Look at what checkpoints answered: an item's prompt, the answers, what was extracted, the scores.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        name="eval",
        epilog="""Examples:

\b
  harness eval my-checkpoint --tasks mmlu,bbh --data DIR
  harness eval my-checkpoint --tasks mmlu --data DIR --limit 570 \\
      --profile lm-eval --profile strict
  harness eval my-checkpoint --tasks my_task --tasks-path my-tasks
  harness eval HuggingFaceTB/SmolLM2-135M --tasks gsm8k,truthfulqa_mc2
  harness eval my-model --server http://localhost:8000 --tasks humaneval \\
      --samples 20 --temperature 0.8
  harness eval my-checkpoint --tasks pocket_mmlu --format json | jq .tasks""",
    )(evaluate)
    app.command(
        epilog="""Examples:

\b
  harness rescore pocket --tasks pocket_mmlu --profile strict
  harness rescore smollm2 --data DIR --limit 57 --profile strict""",
    )(rescore)
    app.add_typer(predictions)


def evaluate(
    checkpoint: Checkpoint,
    tasks: Asked,
    profile: Profiles = None,
    limit: ItemLimit = 0,
    engine: EngineChoice = None,
    server: Server = "",
    dtype: Dtype = None,
    max_length: MaxLength = 4096,
    max_new_tokens: MaxNewTokens = 0,
    samples: Samples = 1,
    pass_at: PassAt = "",
    temperature: Temperature = None,
    seed: SamplingSeed = 0,
    tasks_path: TasksPath = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    unsafe_exec: UnsafeExec = False,
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Evaluate any checkpoint on any lm-eval tasks.

    Every answer is stored under the weights that made it: what was answered once, here or in a study, is not asked
    again, and an interrupted run goes on where it stopped.
    """
    from harness.cli import eval_output
    from harness.errors import InputError

    for option, given in (("--engine", engine), ("--dtype", dtype)):
        if server and given is not None:
            raise InputError(
                f"{option} has no effect beside --server, which computes as it was started. Leave one out."
            )
    eval_output.evaluate(
        checkpoint,
        names(tasks),
        profiles=tuple(one.value for one in profile or [Profile.LM_EVAL]),
        asked={
            "dtype": (dtype or Precision.FLOAT32).value,
            "max_length": max_length,
            "limit": limit,
            "max_new_tokens": max_new_tokens,
            "samples": samples,
            "pass_at": _whole_numbers(pass_at),
            "temperature": temperature,
        },
        engine="server" if server else (engine or EngineOption.VLLM).value,
        server=server,
        seed=seed,
        tasks_path=tasks_path,
        data_dir=data,
        results=results,
        allow_unsafe=unsafe_exec,
        as_json=format is TableOrJson.JSON,
    )


def rescore(
    study: StudyName = "pocket",
    profile: Profiles = None,
    variant: Variant = "",
    seeds: Seeds = None,
    tasks: Tasks = "",
    limit: Limit = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    reports: ReportsFolder = Path("reports"),
    unsafe_exec: UnsafeExec = False,
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Score a study's stored answers again, without any model.

    Another profile needs no new answers where its prompts are the same and its stop strings cut no later; what is
    missing is counted and named.
    """
    from harness.cli import ablate_output
    from harness.commands.ablate import Request

    ablate_output.ablate(
        Request(
            study=study,
            pair=names(variant),
            seeds=seeds,
            tasks=names(tasks),
            limit=limit,
            data_dir=data,
            results=results,
            profiles=tuple(one.value for one in profile or ()),
            allow_unsafe=unsafe_exec,
            stored_only=True,
        ),
        reports=reports,
        format=format.value,
        dry_run=False,
    )


def _whole_numbers(text: str) -> tuple[int, ...]:
    from harness.errors import InputError

    try:
        return tuple(dict.fromkeys(int(one) for one in text.split(","))) if text else ()
    except ValueError:
        raise InputError(
            f"--pass-at takes whole numbers and commas, such as --pass-at 10,1; given: '{text}'."
        ) from None


def names(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


_Study = Annotated[
    str, typer.Option(metavar="STUDY", help="Shipped study or path of a TOML file.", autocompletion=study_names)
]
_Seed = Annotated[Optional[int], typer.Option(metavar="N", help="Training seed; default: the study's first.")]


@predictions.command(
    short_help="Show one item: prompt, answers, scores of every arm.",
    epilog="""Examples:

\b
  harness predictions show ages/test/17
  harness predictions show anatomy/3f9a --study smollm2 --data DIR --limit 57""",
)
def show(
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="Name of an item, its end, or a part that no other item has.")
    ],
    study: _Study = "pocket",
    variant: Variant = "",
    seed: _Seed = None,
    profile: Profiles = None,
    limit: Limit = None,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Show one item: its prompt, what every arm answered, what was read in the answer, and the scores."""
    from harness.cli import predictions_output

    predictions_output.show(
        item,
        _stored(study, variant, profile, limit, data, results, ()),
        seed=seed,
        as_json=format is TableOrJson.JSON,
    )


@predictions.command(
    short_help="Show the items on which two arms differ.",
    epilog="""Examples:

\b
  harness predictions diff --task pocket_drop
  harness predictions diff --study smollm2 --data DIR --limit 57 --show 5""",
)
def diff(
    task: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Tasks to look at, with commas between; default: all of the study.",
            autocompletion=task_names,
        ),
    ] = "",
    study: _Study = "pocket",
    variant: Variant = "",
    seed: _Seed = None,
    profile: Profiles = None,
    limit: Limit = None,
    shown: Annotated[
        int, typer.Option("--show", min=0, metavar="N", help="Items to print in full; the others by name.")
    ] = 3,
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Show the items on which two arms' scores differ, with both answers side by side."""
    from harness.cli import predictions_output

    predictions_output.diff(
        _stored(study, variant, profile, limit, data, results, names(task)),
        seed=seed,
        shown=shown,
        as_json=format is TableOrJson.JSON,
    )


def _stored(
    study: str,
    variant: str,
    profile: list[Profile] | None,
    limit: int | None,
    data: Path | None,
    results: Path,
    tasks: tuple[str, ...],
) -> Any:
    """Return the request for a study of which nothing is run."""
    from harness.commands.ablate import Request

    return Request(
        study=study,
        pair=names(variant),
        tasks=tasks,
        limit=limit,
        data_dir=data,
        results=results,
        profiles=tuple(one.value for one in profile or ()),
        stored_only=True,
    )
