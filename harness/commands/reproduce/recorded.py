"""A study and its recipes as a run recorded them.

Owns what of a study is in a run, what is in payloads, and what is in neither. Runs nothing. Invariant: nothing that
bears identity is taken from a file of today in place of what was recorded.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from harness import layout
from harness.commands import explain
from harness.commands.ablate import Loaded
from harness.commands.explain import Records
from harness.errors import InputError
from harness.plan import Kind
from harness.progress import Progress
from harness.store import Record, Run
from harness.study import Recipe, SourceKind, Study, load_recipe


def loaded(run: Run, records: Records, study_file: Path | None, data_dir: Path | None, progress: Progress) -> Loaded:
    """Return the study of a run with its recipes, as they were recorded.

    Args:
        study_file: beside which its files are; None = the shipped study's, or here.
        data_dir: the folder given by --data, or None.

    Raises:
        InputError: the study or a recipe is not one that this version understands, or its files are not found.
    """
    try:
        study = Study.model_validate(run.study)
    except ValidationError as error:
        raise InputError(
            f"The study of the run '{run.name}' is not one that this version of harness understands:"
            f" {_problems(error)}. Use the version that made it."
        ) from None
    file = _study_file(study_file, data_dir, study, run)
    train = next((key for kind, key in run.records.values() if kind == Kind.TRAIN), None)
    base = next((key for kind, key in run.records.values() if kind == Kind.BASE), None)
    trained = records.get(Kind.TRAIN, train) if train else None
    pretrained = records.get(Kind.BASE, base) if base else None
    recipe = _recipe(study.recipe, file, trained, progress)
    pretraining = _recipe(study.base.recipe, file, pretrained, progress) if study.base.recipe else None
    return Loaded(study=study, file=file, recipe=recipe, pretraining=pretraining)


def _study_file(given: Path | None, data_dir: Path | None, study: Study, run: Run) -> Path:
    """Return the place beside which the study's files are.

    Raises:
        InputError: the study names files, and nobody says where.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(f"--study {given} is no file. Give the TOML file of study '{study.name}'.")
        return given.resolve()
    known = layout.names("training", "studies").get(study.name)
    if known is not None:
        return known
    named = [source.path for source in study.sources if source.kind is SourceKind.FILE and source.path]
    named += [variant.answers for variant in study.variants.values() if variant.answers]
    named += [study.tasks_path] if study.tasks_path else []
    places = [Path.cwd(), *([data_dir] if data_dir else [])]
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    if missing:
        raise InputError(
            f"The study of the run '{run.name}' reads '{missing[0]}' beside its own file, and a run does not say where"
            " that was. Name the file: --study FILE. Only the files beside it are used; the study itself is the"
            " recorded one."
        )
    return Path.cwd() / f"{study.name}.toml"


def _recipe(name: str, file: Path, record: Record | None, progress: Progress) -> Recipe:
    """Return a recipe as it was recorded: that of its file where the two are alike, else one from the record.

    The name and the machine bear no identity and are in no payload; ranks and threads are in the telemetry.
    """
    found: Recipe | None
    try:
        found = load_recipe(name, beside=file)
    except InputError as error:
        found, why = None, str(error)
    recorded = None if record is None else record.payload["settings"].get("recipe")
    if recorded is None:
        if found is None:
            raise InputError(f"{why} The run has no record that holds it.")
        return found
    recipe = found
    if found is None or explain.differences(recorded, found.identity()):
        try:
            machine = found.machine.model_dump() if found else {}
            recipe = Recipe.model_validate({**recorded, "name": Path(name).stem, "machine": machine})
        except ValidationError as error:
            raise InputError(
                f"The recorded recipe '{name}' is not one that this version of harness understands"
                f" ({_problems(error)})."
            ) from None
        fields = explain.differences(recorded, found.identity()) if found else ()
        other = ", ".join(one.path for one in fields)
        progress.note(
            f"The recipe '{name}' is not the recorded one any more ({other}): the recorded one is used."
            if found
            else f"The recipe '{name}' is not here: the recorded one is used, with one chat per forward pass (its"
            " machine is not recorded, and may change the last digits)."
        )
    assert recipe is not None and record is not None
    told = {key: record.telemetry[key] for key in ("ranks", "threads") if key in record.telemetry}
    return recipe.model_copy(update={"machine": recipe.machine.model_copy(update=told)})


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'study'}: {one['msg']}" for one in error.errors())
