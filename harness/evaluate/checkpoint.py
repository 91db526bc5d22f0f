"""A model folder, looked at before an engine is: its identity, and everything that can be wrong with it.

Owns the digest under which predictions are stored and the checks of a folder's files. Loads no model and needs no
torch. Invariant: a `Checkpoint` exists only for a folder whose weights are whole, finite and those that its config.json
asks for, and its digest covers every byte that can change an answer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.errors import InputError
from harness.evaluate import architectures, weights
from harness.store.files import sha256_of

_INDEX = "model.safetensors.index.json"
_SETTINGS = ("config.json", "generation_config.json")
# What may say how a text is split; an engine and the digest look at the same files.
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "tekken.json"),
)
# Any of these is enough to split a text.
_SPLITTERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model folder that is fit to be asked.

    Attributes:
        path: the folder, absolute.
        digest: of the bytes of its weights, settings and tokenizer: 64 hex digits; the folder's place and other files
            (optimizer states, logs) do not take part.
        shape: the numbers and names in config.json that two checkpoints must share to be exchangeable in one engine.
        dtype: "float32", "bfloat16", ...: of most of the weights' bytes.
        max_positions: how many tokens its positions reach; None where config.json names no limit.
        files: name, size and time of change of every file in the digest, when it was taken.
    """

    path: Path
    digest: str
    shape: tuple[tuple[str, str], ...]
    dtype: str
    max_positions: int | None
    files: tuple[tuple[str, int, int], ...] = ()

    def require_unchanged(self) -> None:
        """Raise where a file of the digest is not the one that it was taken of.

        Raises:
            InputError: names the file.
        """
        now = _stamps(self.path, [name for name, _, _ in self.files])
        for before, after in zip(self.files, now, strict=True):
            if before != after:
                raise InputError(
                    f"{self.path / before[0]} changed while the checkpoint was asked: its answers cannot be told from"
                    " those of the weights before. Start again when nothing writes to the folder."
                )


def _stamps(folder: Path, names: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """Return name, size in bytes and time of change in ns of files; -1 for those that are gone."""
    found = []
    for name in names:
        try:
            about = (folder / name).stat()
            found.append((name, about.st_size, about.st_mtime_ns))
        except FileNotFoundError:
            found.append((name, -1, -1))
    return tuple(found)


def open(name: str | Path, *, values: bool = True) -> Checkpoint:
    """Open a model folder, or a model of the hub ("org/name" or "org/name@revision").

    Args:
        name: a folder; else a name on the hub.
        values: whether to look for NaN and infinite weights (about a sixth of the time; the rest is the digest).

    Raises:
        InputError: what is wrong, where, and what to do.
    """
    folder = _folder(name)
    config = _config(folder)
    _check_tokenizer(folder)
    files = _weight_files(folder)
    found = {path.name: weights.tensors(path) for path in files}
    _check_tensors(folder, config, [one for part in found.values() for one in part])
    others = [folder / one for one in (*_SETTINGS, *TOKENIZER) if (folder / one).is_file()]
    others += [path for path in folder.glob("chat_template*") if path.is_file()]
    stamps = _stamps(folder, [path.name for path in (*files, *others)])
    hashes = {}
    for path in files:
        result = weights.scan(path, values=values)
        hashes[path.name] = result.sha256
        _check_values(path, result.broken)
    hashes |= {path.name: sha256_of(path) for path in others}
    positions = [config[one] for one in _POSITIONS if isinstance(config.get(one), int)]
    return Checkpoint(
        path=folder,
        # As `harness.store.files.files_digest`, which would read the weights a second time.
        digest=digest("files", hashes),
        shape=_shape(config),
        dtype=_dtype(one for part in found.values() for one in part),
        max_positions=positions[0] if positions else None,
        files=stamps,
    )


def _folder(name: str | Path) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise InputError(f"{path} is a file. Name the model folder that holds config.json and *.safetensors.")
    if isinstance(name, str) and _HUB_NAME.fullmatch(name):
        return _from_hub(name)
    raise InputError(f"There is no model folder {path}. Name a folder, or a model of the hub as 'org/name'.")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    patterns = ["*.safetensors", _INDEX, *_SETTINGS, *TOKENIZER, "chat_template*"]
    try:
        place = snapshot_download(
            repository, revision=revision or None, allow_patterns=patterns, ignore_patterns=["*/*", "consolidated*"]
        )
    except Exception as error:
        raise InputError(
            f"There is no folder '{name}', and it could not be fetched from the hub either ({type(error).__name__})."
            " Check the name; without the hub, give the path of a local model folder."
        ) from error
    return Path(place)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}). Copy or save the checkpoint again.") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object. Copy or save the checkpoint again.")
    return found


def _config(folder: Path) -> dict[str, Any]:
    """Return config.json; of a model of texts and pictures the part that is about texts, under the whole's type."""
    if not (folder / "config.json").is_file():
        hint = "Name a folder as `save_pretrained` writes it."
        if (folder / "adapter_config.json").is_file():
            hint = "It is an adapter: merge it into its base model (peft: merge_and_unload) and save that."
        elif list(folder.glob("*/config.json")):
            below = sorted(path.parent.name for path in folder.glob("*/config.json"))
            hint = f"Did you mean a folder inside it: {', '.join(below[:5])}?"
        raise InputError(f"{folder} is not a model folder: it has no config.json. {hint}")
    config = _json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{folder / 'config.json'} names no model_type, so no engine can tell its architecture.")
    if (folder / "generation_config.json").is_file():
        _json(folder / "generation_config.json")
    inner = config.get("text_config")
    return {**inner, "model_type": config["model_type"]} if isinstance(inner, dict) else config


def _check_tokenizer(folder: Path) -> None:
    if not any(all((folder / name).is_file() for name in names) for names in _SPLITTERS):
        raise InputError(
            f"{folder} has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt). Copy the"
            " files token* of its base model into it, or save it with tokenizer.save_pretrained."
        )
    for file in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            _json(folder / file)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights; refuse folders in which engines would not agree which those are."""
    present = {path.name for path in folder.glob("*.safetensors") if not path.name.startswith("consolidated")}
    if not present:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        hint = " Fetch or save its weights as safetensors."
        if pickled:
            hint = (
                f" It has pickled weights ({pickled[0]}), which are not loaded because they can run code: load them"
                " where you trust them and write model.save_pretrained(folder, safe_serialization=True)."
            )
        raise InputError(f"{folder} has no *.safetensors.{hint}")
    index = folder / _INDEX
    if index.is_file():
        wanted = _json(index).get("weight_map")
        if not isinstance(wanted, dict) or not wanted:
            raise InputError(f"{index} has no weight_map. Save the checkpoint again.")
        named = set(map(str, wanted.values()))
        if missing := sorted(named - present):
            raise InputError(
                f"{folder} lacks {len(missing)} of the {len(named)} weight files that {_INDEX} names: {missing[0]}"
                " first. Copy or download them."
            )
        for file in named:
            held = {one.name for one in weights.tensors(folder / file)}
            if lost := sorted(name for name, place in wanted.items() if place == file and name not in held):
                raise InputError(f"{folder / file} lacks tensor {lost[0]} that {_INDEX} places there. Save it again.")
    else:
        named = {"model.safetensors"} & present or present
    if len(named) > 1 and not index.is_file():
        raise InputError(f"{folder} has several *.safetensors and no {_INDEX}. Copy that file too.")
    if extra := sorted(present - named):
        raise InputError(
            f"{folder} also holds {extra[0]}, which is not part of the model; one engine would load it and another"
            " would not. Move it elsewhere."
        )
    return sorted(folder / file for file in named)


def _check_tensors(folder: Path, config: dict[str, Any], found: list[weights.Tensor]) -> None:
    """Compare the tensors with those of the architecture, where it is known."""
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise InputError(f"{folder} holds tensor {twice[0]} in two files. Save the checkpoint again.")
    wanted = architectures.expected(config)
    if wanted is None:
        return
    shapes = {
        architectures.canonical(one.name, config): one.shape
        for one in found
        if not architectures.IGNORED.search(one.name)
    }
    known = wanted.needed | wanted.allowed
    missing, extra = sorted(wanted.needed.keys() - shapes.keys()), sorted(shapes.keys() - known.keys())
    wrong = sorted(name for name in shapes.keys() & known.keys() if shapes[name] != known[name])
    advice = " Its config.json and its weights are not of one model: copy both from one place, or save it again."
    if missing or extra:
        parts = [f"lacks {len(missing)} tensors that config.json asks for ({missing[0]} first)"] if missing else []
        parts += [f"has {len(extra)} tensors that config.json knows nothing of ({extra[0]} first)"] if extra else []
        raise InputError(f"The model {folder} {' and '.join(parts)}.{advice}")
    if wrong:
        name = wrong[0]
        raise InputError(
            f"The model {folder} has {len(wrong)} tensors of other shapes than config.json asks for: {name} is"
            f" {list(shapes[name])} instead of {list(known[name])}.{advice}"
        )


def _check_values(path: Path, broken: dict[str, int]) -> None:
    if broken:
        first, count = next(iter(broken.items()))
        raise InputError(
            f"{path} has weights that are NaN or infinite: {count} in {first}, {sum(broken.values())} in {len(broken)}"
            " tensors. The training diverged or the file is damaged; take an earlier checkpoint."
        )


def _shape(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    # dtype is how the weights were saved; the engine's own precision is a setting.
    left_out = {"dtype", "torch_dtype", "transformers_version", "_name_or_path", "name_or_path"}
    return tuple(
        sorted((name, json.dumps(value, sort_keys=True)) for name, value in config.items() if name not in left_out)
    )


def _dtype(found: Iterable[weights.Tensor]) -> str:
    sizes: Counter[str] = Counter()
    for one in found:
        sizes[one.dtype] += one.end - one.begin
    [(most, _)] = sizes.most_common(1) or [("none", 0)]
    return _DTYPES.get(most, most.lower())
