"""Filter packs: the versioned files that say what counts as an aligned answer.

Owns where packs are found, and their digest. Does not know the format (see `packfile`) or label (see `engine`).
Invariant: everything that can change a decision, the classifier's weights included, is in the digest.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.canonical import digest
from harness.data.alignment.classifier import Scorer, Weights
from harness.data.alignment.compiling import Compiled, compile_rules, compile_structure
from harness.data.alignment.gate import Gate
from harness.data.alignment.huggingface import HuggingFace
from harness.data.alignment.packfile import Classifier, PackFile
from harness.data.alignment.structure import Structure
from harness.errors import InputError, nearest
from harness.layout import names, shipped
from harness.store.files import sha256_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """A compiled filter pack; `digest` covers its file and its weights, and enters cache keys.

    Attributes:
        rules: all rules, in the order of precedence.
        gate: which of them can fire on a turn.
        languages, shortest: see `PackFile`.
        scorer: the classifier, or None.
    """

    name: str
    version: str
    digest: str
    rules: tuple[Compiled, ...]
    gate: Gate
    languages: tuple[str, ...] = ()
    shortest: int = 0
    scorer: Scorer | None = None

    @property
    def reference(self) -> str:
        """What users call it: "<name>@<version>"."""
        return f"{self.name}@{self.version}"


def newest(name: str) -> str:
    """Return the shipped pack of a name with the highest version, as "name@version"."""
    found = [reference for reference in names("training", "filters") if reference.startswith(f"{name}@")]
    return max(found, key=lambda one: tuple(map(int, one.partition("@")[2].split("."))))


def load_pack(reference: str) -> Pack:
    """Load a filter pack.

    Args:
        reference: "<name>@<version>" of a shipped pack, or the path of a file ending in .toml.

    Raises:
        InputError: for an unknown pack (suggests the nearest) or an invalid pack file (all problems at once).
    """
    path = _find(reference)
    try:
        file = PackFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(f"The filter file {path} is not valid: {error}. Correct the file.") from error
    if f"{file.name}@{file.version}" != path.stem:
        raise InputError(
            f"The filter file {path} calls itself '{file.name}@{file.version}'; its name and version must be"
            f" those of the file, '{path.stem}'."
        )
    rules = compile_rules(file, str(path))
    scorer = None if file.classifier is None else _scorer(file.classifier, path, compile_structure(file, str(path)))
    return Pack(
        name=file.name,
        version=file.version,
        # A pack of rules alone keeps the digest that the keys of published studies hold.
        digest=sha256_of(path) if scorer is None else digest("pack", [sha256_of(path), scorer.digest]),
        rules=rules,
        gate=Gate.of(rules),
        languages=file.languages,
        shortest=file.shortest,
        scorer=scorer,
    )


def _find(reference: str) -> Path:
    if reference.endswith(".toml"):
        path = Path(reference)
        if not path.is_file():
            raise InputError(f"There is no filter file at {path}. Check the path.")
        return path
    known = names("training", "filters")
    if reference not in known:
        raise InputError(
            f"There is no filter '{reference}' in {shipped('training')}/filters.{nearest(reference, known)}"
        )
    return known[reference]


def _scorer(classifier: Classifier, path: Path, structure: Structure | None) -> Scorer:
    if classifier.weights is not None:
        return Weights.load(path.parent / classifier.weights, structure)
    assert classifier.huggingface is not None
    return HuggingFace.find(classifier.huggingface, classifier.labels, beside=path)
