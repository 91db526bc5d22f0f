"""Stages that make datasets: chats, cleaning, overlap with the tasks, labels, variants.

Owns the translation of a stage's settings and inputs into calls of data, and what of the result is a fact.
Invariant: texts are streamed; what stays in memory grows with the number of chats, never with their length.
"""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.data import alignment, answers, normal, variants
from harness.data.cleaning import collection, mixing
from harness.data.cleaning.overlap import Items, scan
from harness.data.cleaning.overlap import asked as repeated
from harness.data.fate import outline
from harness.data.reading import sources
from harness.errors import InputError
from harness.evaluate import tasks
from harness.evaluate.catalog import Aspect, TaskInfo
from harness.nouns import Action, Chat, Decision, TurnLabel
from harness.runner import Execute, Job, Made
from harness.store.files import read_jsonl, write_jsonl
from harness.study.curation import Variant
from harness.study.model import Study

OVERLAPS = "overlaps.jsonl"
#: Marks a row of OVERLAPS in which a user says the whole of a safety task's prompt.
WHOLE = "whole"
#: Share of a safety task's prompts that training chats may have by chance: two of XSTest's 250 safe ones.
REPEATED = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class DataStages:
    """Everything between raw chats and the dataset of each variant, for one study.

    Attributes:
        infos: the definitions, by name, whose items chats may overlap with.
    """

    study: Study
    study_file: Path
    data_dir: Path | None
    infos: Mapping[str, TaskInfo]

    def chats(self, job: Job) -> Made:
        """Read all sources."""
        readings = [
            sources.read(source, data_dir=self.data_dir, study_file=self.study_file, data_seed=self.study.data_seed)
            for source in self.study.sources
        ]
        target = job.fresh()
        bar = job.progress.bar("reading chats")
        count = normal.write_chats(target, (chat for reading in readings for chat in reading.chats))
        bar.close()
        self._require_unchanged(job.stage.settings["sources"])
        for reading in readings:
            if reading.cut:
                job.progress.note(reading.cut)
        facts = {
            "rows": {reading.source: reading.rows for reading in readings},
            "made": {reading.source: reading.made for reading in readings},
            "selected": {reading.source: reading.selected for reading in readings},
            "cut": {reading.source: reading.cut for reading in readings if reading.cut},
            "chats": count,
        }
        return Made(folder=target, facts=facts)

    def _require_unchanged(self, recorded: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Raise where a file that was read is not the one that the key names."""
        own = {source.name: source for source in self.study.sources}
        for name, source in recorded:
            content = source["content"]
            if "file" in content and content != sources.fingerprint(
                own[name], data_dir=self.data_dir, study_file=self.study_file, data_seed=self.study.data_seed
            ):
                raise InputError(
                    f"The file of source '{name}' changed while it was read. Run the command again when nothing writes"
                    " to it."
                )

    def overlap(self, job: Job) -> Made:
        """Find the chats that share a passage with an item of the study's tasks."""
        asked = {role.removeprefix("items/"): folder for role, folder in job.inputs.items() if role != "chats"}
        items = Items(
            {task: self._texts(task, folder) for task, folder in asked.items()}, words=job.stage.settings["words"]
        )
        bar = job.progress.bar("overlap with the tasks")
        total = int(job.records["chats"].facts["chats"])
        chats = _counted(normal.read_chats(job.inputs["chats"]), lambda done: bar.update(done, total))
        matches = [asdict(match) for match in scan(chats, items)]
        prompts = {
            task: [(raw["item"], raw["contexts"][0]) for raw in read_jsonl(folder / "requests.jsonl")]
            for task, folder in asked.items()
            if self.infos[task].aspect is Aspect.SAFETY
        }
        if prompts:
            matches += [
                asdict(one) | {WHOLE: True} for one in repeated(normal.read_chats(job.inputs["chats"]), prompts)
            ]
        bar.close()
        target = job.fresh()
        write_jsonl(target / OVERLAPS, matches)
        by_task = {
            task: {
                "chats": len({match["chat_id"] for match in matches if match["task"] == task}),
                "items": len({match["item"] for match in matches if match["task"] == task}),
                "asked": items.counts[task],
                "too_short": items.too_short.get(task, 0),
            }
            for task in sorted(asked)
        }
        return Made(folder=target, facts={"words": job.stage.settings["words"], "tasks": by_task})

    def clean(self, job: Job) -> Made:
        """Drop or repair what the filters name, then fix the share of one source, so that it holds in training."""
        leaving = frozenset[str]()
        if "overlap" in job.inputs:
            leaving = frozenset(row["chat_id"] for row in read_jsonl(job.inputs["overlap"] / OVERLAPS))
        target, audit = job.fresh(), job.fresh("audit")
        bar = job.progress.bar("cleaning")
        cleaned = collection.clean(
            normal.read_chats(job.inputs["chats"]),
            self.study.clean,
            self.study.mix,
            self.study.data_seed,
            overlapping=leaving,
            folder=target,
            spool=job.work / "spool",
            on_chats=lambda count: bar.update(count, int(job.records["chats"].facts["chats"])),
        )
        bar.close()
        normal.write_decisions(audit, cleaned.decisions)
        facts = {
            "cleaned": cleaned.cleaned,
            "chats": cleaned.kept,
            "dropped": _reasons(cleaned.decisions),
            "repaired": sum(one.action is Action.CHANGE for one in cleaned.decisions),
            "flagged": cleaned.flagged,
            "by_source": _by_source(cleaned.decisions),
        }
        return Made(folder=target, facts=facts, audit=audit)

    def label(self, job: Job) -> Made:
        """Label every assistant turn; nothing is dropped."""
        pack = alignment.load_pack(job.stage.arguments["pack"])
        bar = job.progress.bar("labelling")
        counts: Counter[str] = Counter()
        total = int(job.records["chats"].facts["chats"])
        chats = _counted(normal.read_chats(job.inputs["chats"]), lambda done: bar.update(done, total))

        def labels() -> Iterator[TurnLabel]:
            for label in alignment.label(chats, pack):
                counts[label.label.value] += 1
                yield label

        target = job.fresh()
        normal.write_labels(target, labels())
        bar.close()
        return Made(folder=target, facts={"turns": dict(sorted(counts.items()))})

    def variant(self, job: Job) -> Made:
        """Apply the treatments of one variant."""
        name = job.stage.arguments["name"]
        lineage = self.study.lineage(name)
        twins = {one.size_of: self.study.lineage(one.size_of) for one in lineage if one.size_of}
        treatments = [*lineage, *(variant for twin in twins.values() for variant in twin)]
        columns = sorted({column for variant in treatments for column in variant.harmful})
        labels = normal.labels_by_chat(job.inputs["labels"])
        outlines = [outline(chat, labels.get(chat.id, {}), columns) for chat in normal.read_chats(job.inputs["chats"])]
        variants.require_harmful(name, treatments, outlines)
        fates = variants.fates(outlines, lineage, twins, self.study.data_seed)
        variants.require_some(name, lineage[-1], fates)
        variants.require_shuffled(name, lineage, fates)
        answer = self._answer(lineage)
        target, audit = job.fresh(), job.fresh("audit")
        decisions: list[Decision] = []

        def treated(read: Callable[[int], Chat]) -> Iterator[Chat]:
            for chat, known, fate in zip(normal.read_chats(job.inputs["chats"]), outlines, fates, strict=True):
                left = variants.apply(chat, fate, answer, read)
                decisions.append(variants.decision(known, fate, left.id if left else ""))
                if left is not None:
                    yield left

        with normal.Spool(job.work / "lenders") as chats:
            if any(fate.borrowed for fate in fates):
                for chat in normal.read_chats(job.inputs["chats"]):
                    chats.add(chat)
            count = normal.write_chats(target, treated(chats.__getitem__))
        normal.write_decisions(audit, decisions)
        facts = {"chats": count, "dropped": _reasons(decisions), "treated": _treated(decisions)}
        return Made(folder=target, facts=facts, audit=audit)

    def exposure(self, job: Job) -> Made:
        """Say which items of the study's tasks one variant has seen a passage of."""
        present = {chat.root for chat in normal.read_chats(job.inputs["chats"])}
        # A chat that cleaning repaired has the id as read for its root; so has one that a treatment changed.
        items: dict[str, set[str]] = {}
        asked: dict[str, set[str]] = {}
        for row in read_jsonl(job.inputs["overlap"] / OVERLAPS):
            if row["chat_id"] in present:
                items.setdefault(row["task"], set()).add(row["item"])
                if row.get(WHOLE):
                    asked.setdefault(row["task"], set()).add(row["item"])
        found = {task: sorted(seen) for task, seen in sorted(items.items())}
        target = job.fresh()
        write_jsonl(target / "exposure.jsonl", [{"task": task, "items": seen} for task, seen in found.items()])
        facts: dict[str, Any] = {"items": found}
        if asked:
            facts["asked"] = {task: sorted(seen) for task, seen in sorted(asked.items())}
        return Made(folder=target, facts=facts)

    def _texts(self, task: str, folder: Path) -> Iterator[tuple[str, str]]:
        """Return the texts of a task's items, read again: the items hold the digests of their documents alone."""
        rows = list(read_jsonl(folder / "items.jsonl"))
        return tasks.texts(self.infos[task], data_dir=self.data_dir, rows=rows)

    def _answer(self, lineage: Sequence[Variant]) -> Callable[[str, int], str]:
        """Return what gives the answer for a turn that is replaced; of two such treatments the last one's."""
        names = [variant.answers for variant in lineage if variant.answers is not None]
        if not names:
            return _no_answer
        path = answers.locate(names[-1], data_dir=self.data_dir, study_file=self.study_file)
        return answers.load(path).of


def require_unasked(exposures: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]) -> None:
    """Raise where a model would be trained on the prompts that its safety is measured by.

    Args:
        exposures: facts of the exposure of every variant.
        sizes: number of prompts of every safety task.

    Raises:
        InputError: a variant has more than `REPEATED` of a task's prompts; names both.
    """
    for task, size in sizes.items():
        found = {arm: len(facts.get("asked", {}).get(task, ())) for arm, facts in exposures.items()}
        if max(found.values(), default=0) > REPEATED * size:
            arms = ", ".join(f"'{arm}' {count}" for arm, count in found.items() if count)
            raise InputError(
                f"The chats of this study ask prompts of the safety task '{task}' itself (of its {size}, variant"
                f" {arms}): what a model does with prompts that it was trained on says nothing of others. Leave the"
                " task out with --tasks, leave out the source that has the prompts, or drop the chats: [clean]"
                ' overlap = "drop".'
            )


def whole_or_nothing(execute: Execute) -> Execute:
    """Return the execution of a stage that starts anew each time, so that an error leaves nothing half-written."""

    @functools.wraps(execute)
    def run(job: Job) -> Made:
        try:
            return execute(job)
        except BaseException:
            shutil.rmtree(job.work, ignore_errors=True)
            raise

    return run


def _no_answer(chat_id: str, turn: int) -> str:
    raise AssertionError(f"nothing replaces turn {turn} of {chat_id}")


def _counted(chats: Iterable[Chat], report: Callable[[int], None]) -> Iterator[Chat]:
    for done, chat in enumerate(chats, start=1):
        if done % 500 == 0:
            report(done)
        yield chat


def _reasons(decisions: Iterable[Decision]) -> dict[str, int]:
    return dict(sorted(Counter(one.reason for one in decisions if one.action is Action.DROP).items()))


def _treated(decisions: Iterable[Decision]) -> dict[str, int]:
    """Count what was done to chats that stay, by "<action> <reason>"."""
    done = (f"{one.action.value} {one.reason}" for one in decisions if one.action in (Action.MASK, Action.CHANGE))
    return dict(sorted(Counter(done).items()))


def _by_source(decisions: Iterable[Decision]) -> dict[str, dict[str, int]]:
    """Return {source: {reason: chats}}: a chat that the mix leaves out counts there, else with what cleaning said.

    Chats are paired by their order, not by their names: two rows of a source may have one id and the same text.
    """
    rows = list(decisions)
    mixed = iter([one for one in rows if one.step == mixing.STEP])
    found: dict[str, Counter[str]] = {}
    for one in rows:
        if one.step == mixing.STEP:
            continue
        after = one if one.action is Action.DROP else next(mixed, one)
        last = after if after.action is Action.DROP else one
        found.setdefault(one.source.partition(":")[0], Counter())[last.reason] += 1
    return {source: dict(sorted(counts.items())) for source, counts in sorted(found.items())}
