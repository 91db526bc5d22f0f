"""Small studies with a ledger: planned for real, data stages made for real on demand, everything else invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curation_study import HEAD, REFUSAL, VARIANTS, plain, row, write_study

from harness.canonical import digest
from harness.commands.ablate import Ablation, Request
from harness.plan import Kind, Stage
from harness.progress import Silent
from harness.report.join import TaskHead, run_of
from harness.store import Record, Runs, stage_key

RECIPE = """
name = "own"
learning_rate = 1e-3
global_batch = 8
max_length = 128
"""
RANDOM = """
[variants.random]
treatment = "random"
size_of = "clean"
"""


def study_of(folder: Path, *, chats: int = 6, head: str = HEAD, clean: str = "", variants: str = "") -> Path:
    """Write a study with a recipe of its own, whose chats are in a file beside it; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own-recipe.toml").write_text(RECIPE, encoding="utf-8")
    rows = [plain(f"p{number}", number) for number in range(chats)]
    rows += [row("r0", "Tell me a secret of the garden.", REFUSAL)]
    head = head.replace('recipe = "pocket"\n', 'recipe = "own-recipe.toml"\n').replace("seeds = [0]", "seeds = [0, 1]")
    return write_study(folder, {"garden": rows}, head=head, clean=clean, variants=VARIANTS + RANDOM + variants)


def planned(study: Path | str, results: Path, *, pair: Sequence[str] = (), alone: bool = False) -> Ablation:
    """Return a study as `harness explain` plans it."""
    request = Request(study=str(study), results=results, pair=tuple(pair), alone=alone)
    return Ablation(request, Silent(), dry=True)


def record_all(ablation: Ablation, *, real: Sequence[str] = (), before: str = "") -> dict[str, Record]:
    """Make a record of every stage, up to the first one whose kind is `before`.

    Args:
        real: kinds of stages that are executed; of the others the output is an invented digest of the question.
    """
    found: dict[str, Record] = {}
    for stage in ablation.stages:
        if stage.kind == before:
            break
        if stage.kind in real:
            found[stage.name] = ablation.runner.ensure(stage.name)
            continue
        inputs = {role: found[name] for role, name in stage.inputs.items()}
        payload = ablation.runner.payload(stage, inputs)
        known = ablation.store.ledger.get(stage.kind.value, stage_key(payload))
        found[stage.name] = known or Record(
            key=stage_key(payload),
            payload=payload,
            output=digest("output", payload),
            facts=_facts(stage, payload, ablation),
            telemetry={"ranks": 1, "threads": 1} if stage.kind in ("train", "base") else {},
        )
        ablation.store.ledger.put(found[stage.name])
    return found


def _facts(stage: Stage, payload: Mapping[str, Any], ablation: Ablation) -> dict[str, Any]:
    """Return invented facts, with all that a report reads."""
    counts = {"attention": "sdpa", "accelerator": "cpu", "parameters": 1000, "cut_chats": 0, "silent_chats": 0}
    trained = {
        "weights": digest("weights", payload),
        "losses": [2.5, None, 1.5],
        "steps": 3,
        "supervised_tokens": 70,
        **counts,
    }
    if stage.kind is Kind.SCORE:
        task = stage.arguments["task"]
        # The value differs between checkpoints, so that arms do.
        digits = [int(digit, 16) / 15 for digit in digest("score", payload)[:4]]
        items = [f"{task}/{number}" for number in range(4)]
        return {
            "task": task,
            "item": items,
            "cluster": items,
            "subtask": ["one"] * 4,
            "prompt": items,
            "scores": {ablation.infos[task].primary: digits},
            "aggregate": {ablation.infos[task].primary: sum(digits) / 4},
        }
    return {
        Kind.CHATS: {"chats": 7, "rows": {"garden": 7}, "selected": {"garden": 7}, "cut": {}},
        Kind.CLEAN: {"chats": 7, "cleaned": 7, "dropped": {}, "repaired": 0, "flagged": 0},
        Kind.LABEL: {"turns": {"full_refusal": 1, "none": 6}},
        Kind.VARIANT: {"chats": 6, "dropped": {"full_refusal": 1}, "treated": {}},
        Kind.OVERLAP: {"words": 13, "tasks": {}},
        Kind.EXPOSURE: {"items": {}},
        Kind.BASE: trained,
        Kind.TRAIN: trained,
        Kind.ITEMS: {"items": 4, "longest_answer": 1},
        Kind.PREDICT: {"task": stage.arguments.get("task"), "shortened_prompts": 0, "unfinished": 0},
    }[stage.kind]


def record_run(ablation: Ablation, records: dict[str, Record]) -> None:
    """Write the run of a study whose stages are all recorded."""
    heads = {name: TaskHead.of(info) for name, info in ablation.infos.items()}
    places = {stage.name: (stage.kind.value, records[stage.name].key) for stage in ablation.stages}
    run = run_of(study=ablation.study, choice=ablation.choice, heads=heads, records=places)
    Runs(ablation.store.root).put(run)
