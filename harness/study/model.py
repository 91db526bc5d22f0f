"""The typed form of study and recipe files.

Owns which keys exist, their units and their defaults. Does not read files (see `parse`) or resolve
paths. Invariant: what bears identity (everything that may change a result) and what does not
(`Machine`) are separate types; only the former enters a key.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.errors import nearest
from harness.study.curation import Clean, Mix, Variant
from harness.study.judging import RESERVED, Controls, Rule
from harness.study.strict import Fraction, Name, Positive, Strict

_SEEDS = 2**32


class SourceKind(enum.StrEnum):
    """Where raw chats come from."""

    POCKET = "pocket"
    FILE = "file"
    HUB = "hub"


class BaseKind(enum.StrEnum):
    """Where the base model comes from."""

    POCKET = "pocket"
    WHEEL = "wheel"
    FOLDER = "folder"
    HUB = "hub"


class ChatFormat(enum.StrEnum):
    """How the rows of a source hold chats; "auto" takes the one that the first rows fit."""

    AUTO = "auto"
    SHAREGPT = "sharegpt"
    OPENAI = "openai"
    ALPACA = "alpaca"
    OASST = "oasst"
    GUANACO = "guanaco"
    DOLLY = "dolly"
    PKU_SAFERLHF = "pku-saferlhf"


class Source(Strict):
    """One origin of raw chats.

    Attributes:
        name: how decisions and reports call it.
        kind: "pocket" (generated), "file" (under --data or a path) or "hub".
        path: file, relative to --data or to the study file; for kind "hub" the file used when --data is given.
        hub: dataset name on the hub, used without --data.
        split: split of the hub dataset.
        revision: branch, tag or commit of the hub dataset; without it, what its main branch is at.
        format: how a row holds a chat; every row has to fit the same one.
        paths: which chats a message tree gives: "best" (one: the lowest rank at answers, the first at questions)
            or "all" (one per leaf). Format "oasst".
        prefer: which of two responses is taken, the "safer" or the "better" one. Format "pku-saferlhf".
        select: keep rows whose column has one of these values, for example {label = ["full_refusal"]}.
        chats: number of chats to generate (kind "pocket").
        on_truncated: what to do with a file that is cut off: "error", or "keep" the whole chats before the cut.
        on_duplicate_id: what to do with two rows of one id and different text: "error", or "number" the later one by
            its row. A row without turns has no text.
    """

    name: Name
    kind: Annotated[SourceKind, Field(strict=False)]
    path: str | None = None
    hub: str | None = None
    split: str = "train"
    revision: str | None = None
    format: Annotated[ChatFormat, Field(strict=False)] = ChatFormat.AUTO
    paths: Literal["best", "all"] = "best"
    prefer: Literal["safer", "better"] | None = None
    select: dict[str, list[str]] = Field(default_factory=dict)
    chats: Positive | None = None
    on_truncated: Literal["error", "keep"] = "error"
    on_duplicate_id: Literal["error", "number"] = "error"

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Source:
        needed = {SourceKind.POCKET: ("chats",), SourceKind.FILE: ("path",), SourceKind.HUB: ("hub",)}[self.kind]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a source of kind '{self.kind.value}' needs the key '{name}'")
        read = {"path", "format", "paths", "prefer", "select", "on_truncated", "on_duplicate_id"}
        used = {
            SourceKind.POCKET: {"chats", "select"},
            SourceKind.FILE: read,
            SourceKind.HUB: {"hub", "split", "revision"} | read,
        }[self.kind]
        for name in sorted(self.model_fields_set - used - {"name", "kind"}):
            raise ValueError(f"the key '{name}' has no effect on a source of kind '{self.kind.value}'")
        for name, owner in (("paths", ChatFormat.OASST), ("prefer", ChatFormat.PKU_SAFERLHF)):
            if name in self.model_fields_set and self.format not in (ChatFormat.AUTO, owner):
                raise ValueError(f"the key '{name}' has no effect on the format '{self.format.value}'")
        return self


class Base(Strict):
    """The model that every arm starts from.

    Attributes:
        kind: "pocket" (pretrained here on generated text), "wheel" (GGUF inside a PyPI package), "folder" or "hub".
        name: package, folder or hub name; empty for "pocket".
        revision: hub revision.
        recipe: recipe of the pretraining (kind "pocket").
        rows: pretraining rows (kind "pocket").
        parameters: number of parameters, for estimates before the model is there; 0 = unknown.
        layers, hidden, vocabulary: shape, for the estimate of activation memory; 0 = unknown.
    """

    kind: Annotated[BaseKind, Field(strict=False)]
    name: str = ""
    revision: str | None = None
    recipe: str | None = None
    rows: Annotated[int, Field(ge=0)] = 0
    parameters: Annotated[int, Field(ge=0)] = 0
    layers: Annotated[int, Field(ge=0)] = 0
    hidden: Annotated[int, Field(ge=0)] = 0
    vocabulary: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Base:
        own = {BaseKind.POCKET: {"recipe", "rows"}, BaseKind.HUB: {"name", "revision"}}.get(self.kind, {"name"})
        for name in sorted(own - {"revision"}):
            if not getattr(self, name):
                raise ValueError(f"a base of kind '{self.kind.value}' needs the key '{name}'")
        for name in sorted(self.model_fields_set & ({"name", "revision", "recipe", "rows"} - own)):
            raise ValueError(f"the key '{name}' has no effect on a base of kind '{self.kind.value}'")
        return self


class Evaluation(Strict):
    """How checkpoints are asked.

    Attributes:
        dtype: precision class of inference.
        max_length: longest prompt plus answer, tokens; a longer prompt loses shots, and is refused where it has none.
        limit: items per task, spread evenly over its subtasks; 0 = all.
        max_new_tokens: cap on generated tokens per item below what a task allows; 0 = no cap.
        engine: what computes answers: "vllm", or "transformers" where vLLM does not run.
        samples: answers per item of tasks that execute programs; pass@k is estimated from them.
        pass_at: values of k for pass@k, each at most `samples`; the first one is what is compared. Empty = pass@1 is
            compared, and 10 and 100 are computed where they fit.
        temperature: of sampling, in place of the task's own; 0 = greedy. Several samples need one above 0.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: Positive = 2048
    engine: Literal["vllm", "transformers"] = "vllm"
    samples: Positive = 1
    pass_at: tuple[Positive, ...] = Field(default=(), strict=False)
    temperature: Annotated[float, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _samples_differ(self) -> Evaluation:
        if self.samples > 1 and not self.temperature:
            raise ValueError("several samples need the key 'temperature' above 0: greedy answers are all alike")
        if len(set(self.pass_at)) != len(self.pass_at):
            raise ValueError("'pass_at' names a k twice")
        if max(self.pass_at, default=1) > self.samples:
            raise ValueError(
                f"'pass_at' asks for pass@{max(self.pass_at)}, of {self.samples} 'samples': k is at most their number"
            )
        return self


class Estimate(Strict):
    """What a dry run assumes before the data has been read; replaced by the real numbers afterwards.

    Attributes:
        chats: expected chats per variant after its treatment.
        tokens_per_chat: mean tokens of a rendered chat.
    """

    chats: dict[str, int] = Field(default_factory=dict)
    tokens_per_chat: Annotated[int, Field(ge=0)] = 0


class Study(Strict):
    """What is compared.

    Attributes:
        name: short name; also the folder of its report.
        title: one line for `harness studies`.
        notes: why it is built this way: licences, deviations.
        seeds: training seeds; each is trained for every variant.
        data_seed: seed of generated data, of mixing, of random removal and of sampled answers.
        recipe: recipe by name or path.
        tasks: names of tasks in tasks/, or of any task of lm-eval.
        tasks_path: folder of further lm-eval tasks, relative to the study file.
        profiles: scoring profiles, side by side in the report; the first one is drawn from first.
        filter: pack that labels the chats, for every variant that names no other.
        verdict: how gaps are judged; enters no key.
        controls: which arms are added to see what the study can tell.
        estimate: what a dry run assumes of data that it has not read.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    title: str
    notes: str = ""
    seeds: tuple[Annotated[int, Field(ge=0, lt=_SEEDS)], ...] = Field(strict=False, min_length=1)
    data_seed: Annotated[int, Field(ge=0)] = 0
    recipe: str
    tasks: tuple[str, ...] = Field(strict=False, min_length=1)
    tasks_path: str | None = None
    profiles: tuple[Literal["lm-eval", "instructeval", "strict"], ...] = Field(
        default=("lm-eval",), strict=False, min_length=1
    )
    filter: str = "alignment@1.2.0"
    base: Base
    sources: tuple[Source, ...] = Field(strict=False, min_length=1)
    mix: Mix | None = None
    clean: Clean = Clean()
    variants: dict[Name, Variant]
    evaluation: Evaluation = Evaluation()
    verdict: Rule = Rule()
    controls: Controls = Controls()
    estimate: Estimate = Estimate()

    def lineage_names(self, name: str) -> list[str]:
        """Return the names of a variant's ancestors, the first one first, and its own."""
        return [*reversed(_ancestors(self.variants, name)), name]

    def lineage(self, name: str) -> tuple[Variant, ...]:
        """Return the treatments that make a variant, from the cleaned chats on: its ancestors' and its own."""
        return tuple(self.variants[one] for one in self.lineage_names(name))

    def made_of(self, name: str) -> list[str]:
        """Return the names of all variants that take part in making one: ancestors, variants whose size they have, it.

        A variant and the one whose size it has share their parent, so both have the same ancestors.
        """
        found = []
        for one in self.lineage_names(name):
            twin = self.variants[one].size_of
            found += [one] if twin is None else [twin, one]
        return found

    def pack(self, name: str) -> str:
        """Return the filter pack whose labels a variant is made with: the last one named on the way to it."""
        named = [self.variants[one].filter for one in self.made_of(name) if one in self.variants]
        return next((pack for pack in reversed(named) if pack is not None), self.filter)

    @model_validator(mode="after")
    def _references_exist(self) -> Study:
        problems = []
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            problems.append("two sources have the same name")
        if self.mix is not None and self.mix.source not in names:
            problems.append(f"mix.source '{self.mix.source}' is not one of the sources {names}")
        if not self.variants:
            problems.append("[variants] is empty; name at least one variant")
        for name, variant in self.variants.items():
            if name in RESERVED:
                problems.append(f"'{name}' is {RESERVED[name]} and cannot be the name of a variant")
            if variant.size_of is not None:
                other = self.variants.get(variant.size_of)
                if other is None or not other.treatment.drops:
                    problems.append(f"variants.{name}.size_of must name a variant whose treatment drops chats")
                elif other.parent != variant.parent:
                    problems.append(f"variants.{name} must have the parent of '{variant.size_of}'")
            if variant.parent is not None and variant.parent not in self.variants:
                problems.append(f"variants.{name}.parent '{variant.parent}' is not a variant")
            elif name in _ancestors(self.variants, name):
                problems.append(f"variants.{name} is its own ancestor")
            elif sum(one.answers is not None for one in self.lineage(name)) > 1:
                problems.append(f"variants.{name} replaces answers that a parent has replaced already")
            else:
                problems += _two_packs(self, name)
        for name in sorted(self.estimate.chats.keys() - self.variants.keys()):
            problems.append(f"estimate.chats names '{name}', which is not a variant")
        for name in sorted({*self.verdict.margins, *([self.verdict.primary] if self.verdict.primary else [])}):
            if name not in self.tasks:
                problems.append(f"[verdict] names '{name}', which is not one of the tasks.{nearest(name, self.tasks)}")
        if len(set(self.seeds)) != len(self.seeds):
            problems.append("a seed is listed twice")
        if self.controls.same_data and max(self.seeds) + len(self.seeds) >= _SEEDS:
            problems.append("controls.same_data trains under the seeds after the largest one, which leaves no room")
        if len(set(self.tasks)) != len(self.tasks):
            problems.append("a task is listed twice")
        if len(set(self.profiles)) != len(self.profiles):
            problems.append("a profile is listed twice")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _two_packs(study: Study, name: str) -> list[str]:
    """Say where a variant would be made with the labels of two packs: which turn has which label would be unclear."""
    own = study.pack(name)
    return [
        f"variants.{name} is labelled by '{own}' and made from '{other}', which is labelled by '{study.pack(other)}';"
        " give both the same filter"
        for other in study.made_of(name)
        if other in study.variants and study.variants[other].treatment.reads_labels and study.pack(other) != own
    ]


def _ancestors(variants: dict[str, Variant], name: str) -> list[str]:
    """Return the parents of a variant, nearest first; stops where they repeat or are unknown."""
    found: list[str] = []
    parent = variants[name].parent
    while parent in variants and parent not in found:
        found.append(parent)
        parent = variants[parent].parent
    return found


class Machine(Strict):
    """How wide a recipe runs: bears no identity.

    Attributes:
        ranks: training processes.
        threads: CPU threads per rank.
        micro_batch: chats per forward pass and rank.
        parallel: trainings that run at the same time.
    """

    ranks: Positive = 1
    threads: Positive = 1
    micro_batch: Positive = 1
    parallel: Positive = 1


class Recipe(Strict):
    """How an arm is trained.

    Attributes:
        learning_rate: peak of AdamW's learning rate.
        betas: AdamW's decay rates.
        weight_decay: AdamW's decoupled weight decay.
        warmup: share of the steps with rising learning rate.
        schedule: shape after the warm-up.
        epochs: passes over the data.
        global_batch: chats per optimizer step over all ranks and accumulation steps.
        max_length: longest chat in tokens; longer ones are cut at the end, counted.
        precision: "bf16" or "fp32" training.
        zero_stage: DeepSpeed ZeRO stage; bf16 needs 1 to 3 (stage 0 takes another optimizer path).
        gradient_checkpointing: recompute activations in the backward pass.
        checkpoints_per_epoch: saved checkpoints per epoch.
        gradient_clipping: largest gradient norm; 0 = off.
        machine: how wide it runs by default.
    """

    name: str
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), strict=False
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Fraction = 0.07
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    epochs: Positive = 1
    global_batch: Positive
    max_length: Positive
    precision: Literal["bf16", "fp32"] = "bf16"
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 3
    gradient_checkpointing: bool = True
    checkpoints_per_epoch: Positive = 2
    gradient_clipping: Annotated[float, Field(ge=0)] = 1.0
    machine: Machine = Machine()

    @model_validator(mode="after")
    def _precision_fits_the_stage(self) -> Recipe:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "bf16 with zero_stage 0 takes another optimizer path in DeepSpeed and does not train like"
                " stages 1 to 3; set zero_stage = 1 or precision = 'fp32'"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return the settings that may change the result: all but the name and the machine."""
        return self.model_dump(mode="json", exclude={"name", "machine"})
