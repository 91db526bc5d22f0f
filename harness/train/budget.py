"""Arithmetic of a training run: steps, tokens, memory, disk; no torch, no I/O.

Owns the estimates that `--dry-run` prints and the checks made before a run starts. Invariant: `total_steps`
and `checkpoint_steps` are the very numbers that the worker obeys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError
from harness.study.model import Base, Machine, Recipe


def total_steps(*, rows: int, epochs: int, global_batch: int) -> int:
    """Return the number of optimizer steps; the last batch of an epoch counts whole."""
    return epochs * math.ceil(rows / global_batch)


def checkpoint_steps(recipe: Mapping[str, Any], *, rows: int) -> list[int]:
    """Return the steps after which a checkpoint is saved: every 1/k epoch, rounded up, and the last."""
    per_epoch = math.ceil(rows / recipe["global_batch"])
    parts = recipe["checkpoints_per_epoch"]
    saves = {math.ceil(per_epoch * part / parts) for part in range(1, recipe["epochs"] * parts + 1)}
    return sorted(saves)


def accumulation(recipe: Recipe, machine: Machine) -> int:
    """Return the accumulation steps that keep the effective batch at any width.

    Raises:
        InputError: when ranks x micro_batch does not divide the global batch.
    """
    width = machine.ranks * machine.micro_batch
    if recipe.global_batch % width:
        raise InputError(
            f"Recipe '{recipe.name}': global_batch {recipe.global_batch} is not a multiple of ranks x micro_batch ="
            f" {machine.ranks} x {machine.micro_batch}. Ask for another number of --ranks, or change [machine]."
        )
    return recipe.global_batch // width


def widen(recipe: Recipe, ranks: int) -> Machine:
    """Return the recipe's machine with another number of ranks, and the largest micro-batch that fits it."""
    sizes = range(min(recipe.machine.micro_batch, max(recipe.global_batch // ranks, 1)), 0, -1)
    fitting = next((size for size in sizes if recipe.global_batch % (ranks * size) == 0), 1)
    return recipe.machine.model_copy(update={"ranks": ranks, "micro_batch": fitting})


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Estimated bytes of one training run.

    Attributes:
        states_per_rank: parameters, gradients and optimizer states on each rank after ZeRO's sharding.
        activations_per_rank: with gradient checkpointing the layer inputs, plus one layer and the logits.
        checkpoint: one saved model.
        resumable: optimizer states and master weights beside the newest checkpoint.
    """

    states_per_rank: int
    activations_per_rank: int
    checkpoint: int
    resumable: int

    @property
    def memory_per_rank(self) -> int:
        """Bytes on each rank, without the framework's own."""
        return self.states_per_rank + self.activations_per_rank


def footprint(*, base: Base, recipe: Recipe, machine: Machine) -> Footprint:
    """Estimate memory and disk after the ZeRO paper (arXiv 1910.02054, section 3.1).

    Mixed precision holds 2 bytes a parameter for weights, 2 for gradients and 12 for master weights and
    Adam's two moments; stage 1 shards the 12, stage 2 the gradients too, stage 3 everything. In fp32 it is
    4 + 4 + 8. Activations: 34 bytes per token and hidden unit for one layer (Korthikanti et al. 2022), 2 for
    each checkpointed layer input.
    """
    weights, gradients, optimizer = (2, 2, 12) if recipe.precision == "bf16" else (4, 4, 8)
    ranks, stage, count = machine.ranks, recipe.zero_stage, base.parameters
    per_parameter = (
        weights / (ranks if stage >= 3 else 1)
        + gradients / (ranks if stage >= 2 else 1)
        + optimizer / (ranks if stage >= 1 else 1)
    )
    tokens = machine.micro_batch * recipe.max_length
    kept = base.layers * 2 if recipe.gradient_checkpointing else base.layers * 34
    # Logits: bf16 or fp32 from the head, a float32 copy for the loss, and its gradient.
    activations = tokens * (base.hidden * (kept + 34) + base.vocabulary * (weights + 4 + 4))
    return Footprint(
        states_per_rank=round(count * per_parameter),
        activations_per_rank=activations,
        checkpoint=count * weights,
        resumable=count * optimizer,
    )


def disk_needed(*, base: Base, recipe: Recipe, machine: Machine, runs: int, at_once: int) -> int:
    """Return the bytes that `runs` trainings leave, plus what `at_once` of them need while they run."""
    size = footprint(base=base, recipe=recipe, machine=machine)
    saved = recipe.epochs * recipe.checkpoints_per_epoch
    return runs * saved * size.checkpoint + min(runs, at_once) * (size.resumable + saved * size.checkpoint)
