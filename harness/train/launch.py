"""Launch a training as its own process group and turn what it leaves into model folders.

Owns the job file, the ranks' environment and the export of checkpoints. Does not import torch. Invariant:
an exported folder holds weights, configuration and the base's own tokenizer files, and nothing else.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, WorkerError
from harness.process import Worker, cuda_present
from harness.store.files import write_atomic, write_jsonl
from harness.study.model import Machine, Recipe
from harness.train.budget import accumulation
from harness.train.worker import COMPLETE

_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_SETTINGS = (
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "added_tokens.json",
)
# Where a checkpoint came from is not part of what it is.
_VOLATILE = ("_name_or_path", "quantization_config")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A finished training: model folders by epoch ("0.5", "1"), and what the worker counted."""

    folders: dict[str, Path]
    facts: dict[str, Any]


def run(
    *,
    base: Path,
    rows: Iterable[Mapping[str, Any]],
    recipe: Recipe,
    machine: Machine,
    seed: int,
    work: Path,
    on_message: Callable[[Mapping[str, Any]], None],
) -> Trained:
    """Train on rows in the order given; resume from `work` where an earlier run was cut off.

    Args:
        rows: {"turns": [{"role", "text"}]} for chats, with "masked" (numbers of turns without loss) where there are
            such, or {"text"} for documents.
        work: folder that survives a kill; holds job, log and checkpoints.
        on_message: called with {"event": "step", "step", "steps", "loss", "tokens"}.

    Raises:
        InputError: what the worker found wrong with its input.
        WorkerError: the worker died.
    """
    accumulation(recipe, machine)
    work.mkdir(parents=True, exist_ok=True)
    _forget_other_width(work, machine)
    write_jsonl(work / "rows.jsonl", rows)
    job = {
        "base": str(base),
        "rows": str(work / "rows.jsonl"),
        "work": str(work),
        "recipe": recipe.identity(),
        "machine": machine.model_dump(),
        "seed": seed,
    }
    write_atomic(work / "job.json", json.dumps(job, indent=1))
    done: dict[str, Any] | None = None
    with Worker(
        module="harness.train.worker",
        arguments=[str(work / "job.json")],
        environments=rank_environments(machine),
        log=work / "log.txt",
    ) as worker:
        for message in worker.messages():
            if message["event"] == "bad_input":
                raise InputError(message["message"])
            if message["event"] == "done":
                done = {name: value for name, value in message.items() if name != "event"}
            on_message(message)
    if done is None:
        raise WorkerError(f"The training ended without saying that it was done; see {work / 'log.txt'}.")
    per_epoch = done["steps"] / recipe.epochs
    folders = {}
    for folder in sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])):
        step = int(folder.name.split("-")[1])
        name = f"{step / per_epoch:.3g}"
        folders[name] = work / f"export-{step}"
        export(folder, base=base, target=folders[name])
    return Trained(folders=folders, facts=done)


def _forget_other_width(work: Path, machine: Machine) -> None:
    """Remove checkpoints that another number of ranks or another micro-batch left: they cannot be resumed here."""
    job = work / "job.json"
    if job.exists() and json.loads(job.read_text(encoding="utf-8"))["machine"] != machine.model_dump():
        for folder in work.glob("checkpoint-*"):
            # The mark first: what a kill leaves of the folder must not look whole.
            (folder / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder)


def rank_environments(machine: Machine) -> list[dict[str, str]]:
    """Return the environment of every rank; all that torchrun would set, without its agent process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(machine.ranks),
        "LOCAL_WORLD_SIZE": str(machine.ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(machine.threads),
        "MKL_NUM_THREADS": str(machine.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    if not cuda_present():
        shared |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(machine.ranks)]


def export(checkpoint: Path, *, base: Path, target: Path) -> None:
    """Copy the weights and configuration of a checkpoint and the tokenizer of its base."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for pattern in _WEIGHTS:
        for path in checkpoint.glob(pattern):
            shutil.copyfile(path, target / path.name)
    for pattern in _SETTINGS:
        for path in base.glob(pattern):
            shutil.copyfile(path, target / path.name)
    settings = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    for name in _VOLATILE:
        settings.pop(name, None)
    settings["use_cache"] = True
    (target / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
