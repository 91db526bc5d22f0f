"""A record made again in a fresh store, and compared with what was recorded.

Owns what of today's world is not as recorded, the fresh folder, and the comparison. Runs nothing itself (`ablate`).
Invariant: the store of the record is only read, never written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import layout
from harness.commands import ablate, explain
from harness.commands.ablate import Ablation, require_packages
from harness.commands.explain import Difference, Records
from harness.commands.explain.chain import readable, without_inputs
from harness.commands.explain.stages import before
from harness.commands.explain.wording import said
from harness.commands.reproduce import recorded
from harness.errors import InputError
from harness.plan import VERSIONS, Kind, Stage
from harness.progress import Progress
from harness.store import Record, Run, Store, sha256_of, tree_digest, write_atomic
from harness.store.files import tree_files
from harness.store.ledger import stage_payload

MARK = "reproduces.json"
_WORKERS = {Kind.BASE, Kind.TRAIN, Kind.PREDICT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asks for.

    Attributes:
        record: the first digits of its key.
        folder: where it is made again; None = "reproduced/<first digits>".
        study_file: beside which the files are that the study names; None = the shipped study's, or here.
        from_inputs: copy the kept inputs instead of making them again.
        anyway: go on where today's question is another one.
    """

    record: str
    results: Path
    folder: Path | None = None
    data_dir: Path | None = None
    study_file: Path | None = None
    from_inputs: bool = False
    anyway: bool = False
    allow_unsafe: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """A record and the one that was made again.

    Attributes:
        run, stage: where the record is from.
        folder: the store of the new one.
        drift: what of packages, code, settings and files was not as recorded, in sentences.
        copied: the stages whose outputs were copied instead of made again.
        first: the first stage before it that came out differently.
        facts: the facts that differ.
        files: the files of the outputs that differ; empty where the recorded output is not kept.
    """

    run: str
    stage: str
    record: Record
    made: Record
    folder: Path
    drift: tuple[str, ...]
    copied: tuple[str, ...]
    first: str | None
    facts: tuple[Difference, ...]
    files: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether output and facts are the recorded ones."""
        return self.record.output == self.made.output and not self.facts


def reproduce(request: Request, progress: Progress) -> Reproduction:
    """Make a record again and compare.

    Raises:
        InputError: no such record, no run that has it, a study that cannot be rebuilt, or a question that is another
            one today and was not allowed to be.
    """
    layout.require_folders(results=request.results, data_dir=request.data_dir)
    records = Records(Store(request.results))
    record = records.find(request.record)
    run, name = _place(records, record)
    folder = request.folder or Path("reproduced") / record.key[:12]
    loaded = recorded.loaded(run, records, request.study_file, request.data_dir, progress)
    # Dry: what cannot be read is then among what is not as recorded, unless nothing has to read it.
    planned = Ablation(_as_ablation(request, run, folder), progress, dry=True, loaded=loaded)
    stages = {stage.name: stage for stage in planned.stages}
    if name not in stages:
        raise InputError(f"Today's plan of the run '{run.name}' has no stage '{name}': {', '.join(stages)}.")
    past = before(name, stages)
    made_again = [name] if request.from_inputs else [*past, name]
    drift = [sentence for one in made_again for sentence in _drift(stages[one], records, run)]
    _require_same(record, name, drift, request)
    if {stages[one].kind for one in made_again} & _WORKERS:
        require_packages(loaded.study)
    inputs = _kept_inputs(records, run, stages[name]) if request.from_inputs else {}
    _claim(folder, request, record)
    _copy(inputs, records, planned)
    copied = tuple(inputs)
    words = "" if not copied else f", from copies of {', '.join(copied)}"
    progress.note(f"Making {name} of the run {run.name} again in {folder}{words}.")
    made = planned.make(name)
    return Reproduction(
        run=run.name,
        stage=name,
        record=record,
        made=made,
        folder=folder,
        drift=tuple(drift),
        copied=copied,
        first=next((one for one in made_again[:-1] if _came_out_differently(one, planned, run, records)), None),
        facts=explain.differences(record.facts, json.loads(json.dumps(made.facts))),
        files=_differing_files(records.store.objects.path(record.output), record, planned.store, made),
    )


def _place(records: Records, record: Record) -> tuple[Run, str]:
    """Return the run that a record answers for, and the stage that it is there."""
    uses = records.uses(record)
    if not uses:
        raise InputError(
            f"No run in {records.store.root / 'runs'} has the record {record.key[:12]}, so it is not known which study"
            " made it. Run `harness ablate` with the study, options and --results that made it: what is recorded is"
            " found, and the run is written. Records of `harness eval` belong to no study and cannot be made again"
            " by this command."
        )
    [run] = [run for run in records.runs if run.name == uses[0].run]
    return run, uses[0].stages[0]


def _as_ablation(request: Request, run: Run, folder: Path) -> ablate.Request:
    """Return what was asked of the study in the run."""
    choice = run.choice
    return ablate.Request(
        study=str(run.study["name"]),
        pair=(choice["reference"], choice["treated"]),
        seeds=len(choice["seeds"]),
        tasks=tuple(choice["tasks"]),
        limit=choice["limit"],
        profiles=tuple(choice["profiles"]),
        data_dir=request.data_dir,
        results=folder,
        allow_unsafe=request.allow_unsafe,
        alone=tuple(choice["arms"]) == (choice["reference"], choice["treated"]),
    )


def _drift(stage: Stage, records: Records, run: Run) -> tuple[str, ...]:
    """Return what of a stage is not as recorded, before anything has run, in sentences."""
    kind, key = run.records.get(stage.name, ("", ""))
    record = records.get(kind, key)
    if record is None:
        return (f"{stage.name}: the run has no record of it that can be read, so nothing says what it was",)
    now = stage_payload(
        kind=stage.kind.value,
        version=VERSIONS[stage.kind],
        settings=json.loads(json.dumps(stage.settings)),
        inputs=dict.fromkeys(stage.inputs, ""),
    )
    fields = explain.differences(without_inputs(record.payload), without_inputs(now))
    roles = explain.differences({"inputs": sorted(record.payload["inputs"])}, {"inputs": sorted(stage.inputs)})
    sentences = [said(one, stage.kind, now, {}) for one in readable(fields)]
    sentences += ["it reads other stages than recorded"] if roles else []
    return tuple(f"{stage.name}: {sentence}" for sentence in sentences)


def _require_same(record: Record, name: str, drift: Sequence[str], request: Request) -> None:
    """Raise where the question is another one today and nobody said to go on."""
    if drift and not request.anyway:
        lines = "\n".join(f"  {sentence}" for sentence in drift)
        raise InputError(
            f"Record {record.key[:12]} ({name}) cannot be made again as it was:\n{lines}\nRestore that, or give"
            " --anyway to make it with what is here and see what comes out differently."
        )


def _claim(folder: Path, request: Request, record: Record) -> None:
    """Mark a fresh folder as this reproduction's; one that was begun by the same is continued.

    Raises:
        InputError: there is something else in it.
    """
    mark = {"record": record.key, "from_inputs": request.from_inputs, "anyway": request.anyway}
    layout.require_folder("--in", folder)
    if folder.is_dir() and any(folder.iterdir()):
        path = folder / MARK
        if not path.is_file() or path.read_text(encoding="utf-8") != json.dumps(mark, sort_keys=True) + "\n":
            raise InputError(
                f"--in {folder} is not empty and not begun by the same command, so it may hold what would not be made"
                " again. Give a fresh folder."
            )
    write_atomic(folder / MARK, json.dumps(mark, sort_keys=True) + "\n")


def _kept_inputs(records: Records, run: Run, stage: Stage) -> dict[str, Record]:
    """Return the records of what a stage reads, whose objects are kept and whole.

    Raises:
        InputError: one is not.
    """
    found = {}
    for one in dict.fromkeys(stage.inputs.values()):
        known = records.get(*run.records.get(one, ("", "")))
        kept = None if known is None else records.store.objects.path(known.output)
        what = ""
        if known is None or kept is None or not kept.is_dir():
            what = f"is not kept in {records.store.objects.root}"
        elif tree_digest(kept) != known.output:
            what = f"in {kept} is damaged: its bytes are not those of its digest"
        if known is None or what:
            raise InputError(f"The output of {one} {what}. Leave out --from-inputs to make it again.")
        found[one] = known
    return found


def _copy(inputs: Mapping[str, Record], records: Records, planned: Ablation) -> None:
    """Copy the objects of inputs into the fresh store, and take their records for what their stages made."""
    store = planned.store
    for name, known in inputs.items():
        if store.objects.get(known.output) is None:
            work = store.root / "work" / f"copy-{known.output[:12]}"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(records.store.objects.path(known.output), work)
            copied = store.objects.put(work)
            assert copied == known.output, f"{name} was whole a moment ago"
        planned.runner.adopt(name, known)


def _came_out_differently(name: str, planned: Ablation, run: Run, records: Records) -> bool:
    made = planned.runner.peek(name)
    known = records.get(*run.records.get(name, ("", "")))
    return made is None or known is None or made.output != known.output


def _differing_files(kept: Path, record: Record, store: Store, made: Record) -> tuple[str, ...]:
    """Return the files in which the recorded output and the new one differ, where the recorded one is kept whole."""
    again = store.objects.get(made.output)
    if record.output == made.output or not kept.is_dir() or again is None or tree_digest(kept) != record.output:
        return ()

    def digests(folder: Path) -> dict[str, Any]:
        return {path.relative_to(folder).as_posix(): sha256_of(path) for path in tree_files(folder)}

    one, two = digests(kept), digests(again)
    return tuple(sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name)))
