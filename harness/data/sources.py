"""Sources: raw chats from a file, the hub or the pocket generator, and the identity of that input.

Owns where a source is looked up, which rows are selected, and what a reader is told when it is not there.
Does not decode JSON (see `rows`) or know formats. Invariant: `fingerprint` and `read` look at the same input.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.formats import WrongShape, to_chat
from harness.data.rows import Truncated, read_rows
from harness.errors import InputError, MissingPackageError, nearest
from harness.nouns import Chat
from harness.store.files import sha256_of
from harness.study.model import Source, SourceKind

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came out of one source.

    Attributes:
        source: name of the source.
        chats: the selected chats, in file order.
        rows: whole rows that were read.
        cut: where and how the file is cut off, when `on_truncated = "keep"` passed it; else empty.
    """

    source: str
    chats: list[Chat]
    rows: int
    cut: str = ""

    @property
    def unselected(self) -> int:
        """Rows that `select` left out."""
        return self.rows - len(self.chats)


def read(source: Source, *, data_dir: Path | None, study_file: Path, data_seed: int) -> Reading:
    """Read all chats of a source.

    Args:
        source: its settings.
        data_dir: the folder given by --data, or None.
        study_file: the study's file; relative paths are looked up beside it too.
        data_seed: seed of generated chats; other kinds do not use it.

    Raises:
        InputError: for input that is missing, unreachable, cut off, not JSON, or of the wrong shape.
    """
    if source.kind is SourceKind.POCKET:
        from harness.data import pocket

        assert source.chats is not None
        return _selected(source, list(pocket.chats(data_seed, source.chats)), f"source '{source.name}'", "")
    path = locate(source, data_dir=data_dir, study_file=study_file)
    if path is not None:
        return _from_file(source, path)
    chats = [
        _chat(row, source, number, f"hub dataset '{source.hub}', split '{source.split}', row {number}")
        for number, row in enumerate(_hub_rows(source), start=1)
    ]
    return _selected(source, chats, f"hub dataset '{source.hub}'", "")


def fingerprint(source: Source, *, data_dir: Path | None, study_file: Path, data_seed: int) -> dict[str, Any]:
    """Return the identity of a source's input for cache keys, without parsing it.

    A file enters by the sha256 of its bytes, a hub dataset by its commit, generated chats by the generator's
    version, the seed and their number. Settings of the source (`select`, ...) are not part of it.

    Raises:
        InputError: as `read`, for input that is missing or unreachable.
    """
    if source.kind is SourceKind.POCKET:
        from harness.data import pocket

        return {"generator": pocket.VERSION, "seed": data_seed, "chats": source.chats}
    path = locate(source, data_dir=data_dir, study_file=study_file)
    if path is not None:
        return {"file": sha256_of(path)}
    return {"hub": source.hub, "split": source.split, "revision": _hub_revision(source)}


def locate(source: Source, *, data_dir: Path | None, study_file: Path) -> Path | None:
    """Return the file of a source: under --data, else beside the study file, else in the working directory.

    None means that the source is to be loaded from the hub. A hub source uses a file only with --data; there
    it is `path`, or, without one, the dataset's name with an ending of `ENDINGS`.

    Raises:
        InputError: when there is no such file; suggests the nearest name.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"--data {data_dir}: there is no such folder. Give a folder that holds the data files.")
    if source.kind is SourceKind.HUB and data_dir is None:
        return None
    folders = [*([data_dir] if data_dir is not None else []), study_file.parent, Path.cwd()]
    candidates = [folder / name for folder in folders for name in _file_names(source)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    wanted = " or ".join(f"'{name}'" for name in _file_names(source))
    present = {path.name for folder in folders[:2] if folder.is_dir() for path in folder.iterdir() if _is_data(path)}
    tail = nearest(Path(_file_names(source)[0]).name, present)
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise InputError(
        f"Source '{source.name}': there is no file {wanted}; looked in {looked}.{tail}"
        " Put the file there, correct 'path' in the study, or give its folder with --data DIR."
    )


def _file_names(source: Source) -> list[str]:
    if source.path is not None:
        return [source.path]
    assert source.hub is not None
    return [source.hub.split("/")[-1] + ending for ending in ENDINGS]


def _is_data(path: Path) -> bool:
    return path.name.endswith(ENDINGS)


def _from_file(source: Source, path: Path) -> Reading:
    chats: list[Chat] = []
    cut = ""
    try:
        for row in read_rows(path):
            chats.append(_chat(row.value, source, row.number, f"{path}, row {row.number} (line {row.line})"))
    except Truncated as error:
        cut = f"{path} is cut off at byte {error.offset}: {error}; {len(chats)} whole chats precede the cut"
        if source.on_truncated == "error":
            raise InputError(
                f"{cut}. Fetch the file again, or set on_truncated = \"keep\" in source '{source.name}' to"
                " use those chats."
            ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the file and its permissions.") from error
    if not chats:
        raise InputError(f"{path} holds no chats{f' ({cut})' if cut else ''}. Check that it is the right file.")
    return _selected(source, chats, str(path), cut)


def _chat(row: Any, source: Source, number: int, where: str) -> Chat:
    try:
        return to_chat(row, source=source.name, number=number)
    except WrongShape as error:
        raise InputError(f"{where}: {error} Correct the row or convert the file.") from None


def _selected(source: Source, chats: list[Chat], where: str, cut: str) -> Reading:
    """Keep the chats whose columns have one of the selected values, compared as text."""
    kept = chats
    for column, values in source.select.items():
        known = {name for chat in chats for name in chat.attributes}
        if column not in known:
            raise InputError(
                f"Source '{source.name}': select names the column '{column}', which no row of {where} has."
                f"{nearest(column, known)}"
            )
        kept = [chat for chat in kept if _as_text(chat.attributes.get(column)) in values]
        if not kept:
            found = {_as_text(chat.attributes.get(column)) for chat in chats}
            hint = nearest(values[0], found) if values else " The list is empty: name values."
            raise InputError(f"Source '{source.name}': no row of {where} has {column} in {values}.{hint}")
    return Reading(source=source.name, chats=kept, rows=len(chats), cut=cut)


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _hub_rows(source: Source) -> Iterator[Mapping[str, Any]]:
    revision = _hub_revision(source)
    try:
        import datasets

        rows = datasets.load_dataset(source.hub, split=source.split, revision=revision)
    except ImportError as error:
        raise _needs_datasets(source) from error
    except Exception as error:
        raise _unreachable(source, error) from error
    for row in rows:
        # Columns that JSON cannot hold (dates, images) become text, so that every chat can be written out.
        yield json.loads(json.dumps(row, default=str))


def _hub_revision(source: Source) -> str:
    """Return the commit that the hub dataset's main branch is at; fails within seconds without a network."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise _needs_datasets(source) from error
    try:
        revision = HfApi().dataset_info(str(source.hub), timeout=10).sha
    except Exception as error:
        raise _unreachable(source, error) from error
    assert revision is not None
    return str(revision)


def _needs_datasets(source: Source) -> MissingPackageError:
    return MissingPackageError(
        f"Source '{source.name}' comes from the hub, which needs the package 'datasets'. Install it with"
        " `pip install datasets`, or give the data as files with --data DIR."
    )


def _unreachable(source: Source, error: Exception) -> InputError:
    """Turn whatever the hub's client raised (its network errors share no base class) into advice."""
    names = " or ".join(_file_names(source))
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"Source '{source.name}': the hub dataset '{source.hub}' cannot be loaded ({reason}). Without the hub"
        f" give the data as files with --data DIR: DIR must contain {names}, chats in one of the formats"
        " ShareGPT, OpenAI messages or Dolly, as .json or .jsonl, optionally with .gz."
    )
