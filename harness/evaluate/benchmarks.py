"""Rows of the public benchmarks, from the hub or from a folder given as --data.

Owns the two ways in; the task files in tasks/ say which files and hub names. Does not render prompts.
Invariant: with a folder given, nothing is fetched; without one, nothing but the hub is read.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError


def rows(
    *, file: str, hub: str, config: str | None, split: str, data_dir: str | None, columns: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the rows of one split.

    Args:
        file: path below `data_dir`: JSON lines, or CSV with a header where it ends in .csv; either optionally .gz.
        hub: dataset name on the hub, used when `data_dir` is None.
        config: configuration of the hub dataset.
        split: split of the hub dataset.
        columns: columns that every row must have.

    Raises:
        InputError: the file is missing, broken or empty, a column is missing, or the hub cannot be reached.
    """
    found = _local(data_dir, file) if data_dir is not None else _hub(hub, config, split)
    place = f"{Path(data_dir) / file}" if data_dir is not None else f"The dataset '{hub}'"
    if not found:
        raise InputError(f"{place} has no rows. Fetch it again.")
    missing = [name for name in columns if any(row.get(name) is None for row in found)]
    if missing:
        raise InputError(
            f"{place} has no column '{missing[0]}' in some row; its columns are {', '.join(map(str, found[0]))}."
            " Its form is described in README.md, section 'Data'."
        )
    return found


@functools.lru_cache(maxsize=64)
def _local(data_dir: str, file: str) -> list[dict[str, Any]]:
    path = Path(data_dir) / file
    if not path.is_file():
        raise InputError(f"--data {data_dir} has no {file}. Its layout is described in README.md, section 'Data'.")
    opener: Any = gzip.open if path.suffix == ".gz" else open
    table = path.name.removesuffix(".gz").endswith(".csv")
    try:
        # A byte order mark before the header would become part of the first column's name.
        with opener(path, "rt", encoding="utf-8-sig" if table else "utf-8", newline="" if table else None) as lines:
            found = list(csv.DictReader(lines, strict=True)) if table else [json.loads(line) for line in lines]
    except (json.JSONDecodeError, csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        form = "CSV" if table else "JSON lines"
        raise InputError(f"{path} is not a whole {form} file: {error}. Fetch it again.") from None
    longer = [number for number, row in enumerate(found, start=1) if table and None in row]
    if longer:
        raise InputError(f"{path}, row {longer[0]}: more fields than the header has columns. Fetch it again.")
    return found


@functools.lru_cache(maxsize=128)
def _hub(hub: str, config: str | None, split: str) -> list[dict[str, Any]]:
    import datasets

    try:
        return [dict(row) for row in datasets.load_dataset(hub, config, split=split)]
    except Exception as error:
        raise InputError(
            f"The dataset '{hub}' could not be fetched from the hub ({type(error).__name__}: {_first_line(error)})."
            " Without the hub, give a folder with the benchmark files: --data DIR (its layout is in README.md, section"
            " 'Data')."
        ) from error


def forget() -> None:
    """Free the rows that were read; a benchmark in full takes tens of megabytes."""
    _local.cache_clear()
    _hub.cache_clear()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else ""
