"""One training rank: rows and a base in, checkpoints out, through transformers' Trainer on DeepSpeed.

The only module that imports deepspeed. Owns the training loop's settings, the
half-epoch checkpoints and resumption. Does not order the rows: it trains on them as they stand, with
every shuffle off. Invariant: a run that was killed and resumed ends in the same weights as one that
was not.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.process import die_with_parent, send
from harness.store.files import read_jsonl
from harness.train.budget import checkpoint_steps, total_steps
from harness.train.examples import IGNORED, Example, from_chat, from_document

COMPLETE = "COMPLETE"


def main() -> None:
    """Run the job whose path is the first argument."""
    die_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        train(job)
    except InputError as error:
        send({"event": "bad_input", "message": str(error)})


def train(job: dict[str, Any]) -> None:
    """Train one arm.

    Args:
        job: base (model folder), rows (JSON lines of {"turns", "masked"} or {"text"}), work (folder for checkpoints),
            recipe (identity settings), machine, seed.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.train import attention

    cuda = torch.cuda.is_available()
    _begin(job, cuda=cuda)
    recipe, work = job["recipe"], Path(job["work"])
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    examples = [_example(tokenizer, row, recipe["max_length"]) for row in read_jsonl(Path(job["rows"]))]
    chats = len(examples)
    steps = total_steps(rows=chats, epochs=recipe["epochs"], global_batch=recipe["global_batch"])
    # Whole batches only: the last one is filled with rows that bear no loss, so that every world size
    # sees the same batches (a sharded loader would repeat chats instead).
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    empty = Example(ids=[pad], labels=[IGNORED], cut=False)
    examples += [empty] * (-chats % recipe["global_batch"])

    # Before the model: from here on transformers knows the DeepSpeed settings, and shards what it loads under ZeRO-3.
    arguments = training_arguments(job, steps=steps, cuda=cuda)
    chosen = attention.choose(cuda=cuda)
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, attn_implementation=chosen)
    model.config.use_cache = False
    progress = _callback(work=work, steps=steps, saves=checkpoint_steps(recipe, rows=chats), examples=examples)
    trainer = _trainer(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=_Collator(pad),
        callbacks=[progress],
    )
    found = _last_complete(work)
    trainer.train(resume_from_checkpoint=str(found) if found else None)
    if trainer.is_world_process_zero():
        counted = _counts(examples[:chats], epochs=recipe["epochs"])
        ran = {"attention": chosen, "accelerator": "cuda" if cuda else "cpu", "parameters": _parameters(model)}
        send({"event": "done", **_course(trainer.state), **counted, **ran})
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _begin(job: dict[str, Any], *, cuda: bool) -> None:
    """Join the other ranks, and fix what could make two runs of a job differ."""
    import deepspeed
    import torch
    from transformers import set_seed

    # No op of DeepSpeed's own is compiled. On a CPU it would be the collectives for inference, which training never
    # calls: half a minute, a C++ compiler, and a lock file that a killed run leaves and every later one waits for.
    deepspeed.ops.__compatible_ops__ = {}
    # Before the model is made: ZeRO-3 shards it while it loads, and must know the world by then.
    deepspeed.init_distributed("nccl" if cuda else "gloo", auto_mpi_discovery=False, verbose=False)
    torch.set_num_threads(job["machine"]["threads"])
    # Deterministic kernels where they exist; filling fresh memory would make ZeRO's buckets 30 times slower.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    set_seed(job["seed"])


def _trainer(**settings: Any) -> Any:
    """Return a Trainer without its shuffle, and with a loss for batches without supervised tokens."""
    import torch
    from transformers import Trainer

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
            # A batch of nothing but cut-off or masked chats has no token to average over: its loss is 0, not 0/0.
            count = super()._get_num_items_in_batch(batch_samples, device)
            return None if count is None else torch.clamp(count, min=1)

    return InOrder(**settings)


def _course(state: Any) -> dict[str, Any]:
    """Return the steps and losses of a finished training."""
    history = {entry["step"]: entry["loss"] for entry in state.log_history if "loss" in entry}
    return {
        # A diverged run is recorded as such: JSON and keys know no NaN.
        "losses": [history[step] if math.isfinite(history[step]) else None for step in sorted(history)],
        "steps": state.global_step,
    }


def _counts(examples: list[Example], *, epochs: int) -> dict[str, int]:
    """Return what there was to learn from, over all epochs; the rows that fill the last batch left out."""
    return {
        "chats": len(examples),
        "cut_chats": sum(example.cut for example in examples),
        "tokens": sum(len(example.ids) for example in examples) * epochs,
        # Of the cut ones: a chat whose every answer a variant masks has lost nothing.
        "silent_chats": sum(example.cut and example.supervised == 0 for example in examples),
        "supervised_tokens": sum(example.supervised for example in examples) * epochs,
    }


def training_arguments(job: dict[str, Any], *, steps: int, cuda: bool) -> Any:
    """Return the Trainer's settings of a job: its recipe, and everything that could shuffle or talk switched off."""
    from transformers import TrainingArguments

    recipe, machine = job["recipe"], job["machine"]
    world = int(os.environ["WORLD_SIZE"])
    return TrainingArguments(
        output_dir=job["work"],
        per_device_train_batch_size=machine["micro_batch"],
        gradient_accumulation_steps=recipe["global_batch"] // (machine["micro_batch"] * world),
        num_train_epochs=recipe["epochs"],
        learning_rate=recipe["learning_rate"],
        adam_beta1=recipe["betas"][0],
        adam_beta2=recipe["betas"][1],
        weight_decay=recipe["weight_decay"],
        optim="adamw_torch",
        lr_scheduler_type=recipe["schedule"],
        warmup_steps=math.ceil(recipe["warmup"] * steps),
        max_grad_norm=recipe["gradient_clipping"],
        bf16=recipe["precision"] == "bf16",
        gradient_checkpointing=recipe["gradient_checkpointing"],
        gradient_checkpointing_kwargs={"use_reentrant": False} if recipe["gradient_checkpointing"] else None,
        deepspeed=deepspeed_config(recipe, machine, world),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        use_cpu=not cuda,
        ddp_backend="nccl" if cuda else "gloo",
        seed=job["seed"],
        data_seed=job["seed"],
        average_tokens_across_devices=True,
    )


def deepspeed_config(recipe: dict[str, Any], machine: dict[str, Any], world: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a recipe.

    Buckets of 1e6 elements: with the default 5e8 deterministic runs are 30 to 60 times slower on CPU.
    """
    stage = recipe["zero_stage"]
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": 1_000_000, "allgather_bucket_size": 1_000_000}
    if stage == 3:
        zero |= {
            "stage3_gather_16bit_weights_on_model_save": True,
            "stage3_param_persistence_threshold": 10_000,
            "stage3_prefetch_bucket_size": 1_000_000,
        }
    return {
        "train_micro_batch_size_per_gpu": machine["micro_batch"],
        "gradient_accumulation_steps": recipe["global_batch"] // (machine["micro_batch"] * world),
        "train_batch_size": recipe["global_batch"],
        "gradient_clipping": recipe["gradient_clipping"],
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": recipe["precision"] == "bf16"},
        "fp16": {"enabled": False},
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }


def _example(tokenizer: Any, row: dict[str, Any], max_length: int) -> Example:
    if "text" in row:
        return from_document(tokenizer, row["text"], max_length=max_length)
    return from_chat(tokenizer, row["turns"], max_length=max_length, masked=row.get("masked", ()))


def _parameters(model: Any) -> int:
    """Count parameters, also where ZeRO-3 has left empty shells of them."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())


class _Collator:
    """Pads a micro-batch on the right to its own longest row."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        import torch

        width = max(len(example.ids) for example in examples)
        return {
            "input_ids": torch.tensor([e.ids + [self.pad] * (width - len(e.ids)) for e in examples]),
            "attention_mask": torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in examples]),
            "labels": torch.tensor([e.labels + [IGNORED] * (width - len(e.labels)) for e in examples]),
        }


def _last_complete(work: Path) -> Path | None:
    """Return the newest checkpoint that was saved to its end; remove the others' remains."""
    complete = None
    for folder in sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])):
        if (folder / COMPLETE).exists():
            complete = folder
        elif os.environ["RANK"] == "0":
            shutil.rmtree(folder)
    return complete


def _callback(*, work: Path, steps: int, saves: list[int], examples: list[Example]) -> Any:
    """Return the Trainer callback that reports steps and saves and marks checkpoints."""
    import torch
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = state.global_step in saves

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if state.is_world_process_zero and logs and "loss" in logs:
                batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                begin = (state.global_step - 1) * batch % len(examples)
                tokens = sum(len(example.ids) for example in examples[begin : begin + batch])
                send(
                    {"event": "step", "step": state.global_step, "steps": steps, "loss": logs["loss"], "tokens": tokens}
                )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Every rank has written its shard before the first one says so.
            if torch.distributed.is_initialized():
                torch.distributed.barrier()
            if state.is_world_process_zero:
                # The mark must not reach the disk before what it vouches for.
                os.sync()
                (work / f"checkpoint-{state.global_step}" / COMPLETE).touch()
                for older in work.glob("checkpoint-*"):
                    if int(older.name.split("-")[1]) < state.global_step:
                        for shard in older.glob("global_step*"):
                            shutil.rmtree(shard)

    return Progress()


if __name__ == "__main__":
    main()
