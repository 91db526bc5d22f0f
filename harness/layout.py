"""Where the shipped folders are: `tasks/` and `training/`, from the wheel or from the checkout.

Owns the one lookup that both installs share, and the checks of folders and files that a user names. Does not parse
what it finds. Invariant: every path it returns exists.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import InputError, nearest

_PACKAGE = Path(__file__).resolve().parent


def package() -> Path:
    """Return the folder of the package's own modules."""
    return _PACKAGE


def shipped(folder: str) -> Path:
    """Return the shipped folder `tasks` or `training`.

    The wheel carries them as `harness/_shipped/<folder>`; a checkout has them beside the package.

    Raises:
        InputError: when neither is there, which means a broken installation.
    """
    for candidate in (_PACKAGE / "_shipped" / folder, _PACKAGE.parent / folder):
        if candidate.is_dir():
            return candidate
    raise InputError(f"The folder '{folder}/' that ships with harness is missing beside {_PACKAGE}. Reinstall harness.")


def names(folder: str, kind: str) -> dict[str, Path]:
    """Return {name: path} of the TOML files in `folder/kind`, for example the shipped studies."""
    return {path.stem: path for path in sorted((shipped(folder) / kind).glob("*.toml"), key=lambda path: path.stem)}


def newest(kind: str, name: str) -> str:
    """Return "name@version" of the file in training/<kind> with the highest version.

    Raises:
        InputError: when there is none of that name.
    """
    known = names("training", kind)
    versions = {one: one.partition("@")[2].split(".") for one in known if one.startswith(f"{name}@")}
    if not versions:
        raise InputError(f"There is no '{name}' in {shipped('training')}/{kind}.{nearest(name, known)}")
    return max(versions, key=lambda one: [int(part) if part.isdigit() else -1 for part in versions[one]])


def find(kind: str, name: str, *, beside: Path | None = None) -> Path:
    """Resolve a study or recipe by path (ending in .toml) or by shipped name.

    Args:
        kind: the subfolder of training/, "studies" or "recipes".
        name: a shipped name, or a path to a TOML file.
        beside: a file whose folder is searched first for a relative path.

    Raises:
        InputError: when nothing has that name; suggests the nearest.
    """
    singular = {"studies": "study", "recipes": "recipe"}[kind]
    if name.endswith(".toml") or "/" in name:
        for candidate in [*([beside.parent / name] if beside else []), Path(name)]:
            if candidate.is_file():
                return candidate.resolve()
        what = "is a folder" if Path(name).is_dir() else "is not there"
        raise InputError(f"'{name}' {what}. Give the path of a {singular}'s TOML file, or a shipped name.")
    known = names("training", kind)
    if beside is not None and (beside.parent / f"{name}.toml").is_file() and name not in known:
        return (beside.parent / f"{name}.toml").resolve()
    if name not in known:
        file = " The file of that name here would have to end in .toml." if Path(name).is_file() else ""
        raise InputError(f"There is no {singular} named '{name}'.{file}{nearest(name, known)}")
    return known[name]


def golden() -> Path | None:
    """Return the golden set of the alignment filter in a checkout; the wheel does not carry it."""
    path = _PACKAGE.parent / "tests" / "gold" / "alignment.jsonl"
    return path if path.is_file() else None


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def require_folder(option: str, folder: Path) -> None:
    """Raise where a folder, which may be new, is a file.

    Raises:
        InputError: names the option.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{option} {folder} is a file; give a folder.")


def require_file(option: str, path: Path) -> None:
    """Refuse a path at which no file can be written, before any work.

    Raises:
        InputError: it is a folder or no plain file, or what should be its folder is a file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is no file that can be replaced; give the path of a file.")
    above = existing(path.parent)
    if not above.is_dir():
        raise InputError(f"{option} {path}: {above} is a file; give a file in a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(
            f"{option} {path}: nothing can be written to {above}. Give a file in a folder that can be written."
        )


def require_writable(option: str, folder: Path) -> None:
    """Raise where nothing could be written to a folder, which may be new.

    Raises:
        InputError: names the option.
    """
    place = existing(folder)
    if not place.is_dir():
        raise InputError(f"{option} {folder}: {place} is a file; give a folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{option} {folder}: nothing can be written to {place}. Name a folder that can be written.")


def require_folders(*, results: Path, data_dir: Path | None) -> None:
    """Raise where the folders of a command are none; the one for results may be new.

    Raises:
        InputError: names the option.
    """
    require_folder("--results", results)
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"--data {data_dir} is not a folder. Its layout is in README.md, section 'Data'.")
