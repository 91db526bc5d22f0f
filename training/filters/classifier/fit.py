"""Fit the weights of the newest pack: `python training/filters/classifier/fit.py --chats FOLDER -o WEIGHTS`.

Owns what the shipped weights were fitted on and how. Needs scikit-learn, which harness itself does not. Invariant:
the same inputs give the same weights file.

Fitted on, and on nothing else:
- `training/filters/corpus/*.jsonl`, written for this project, and the turns that `compose` joins;
- of the XSTest answers only those of the two Mistral models (Apache-2.0 weights) to the even-numbered prompts. The
  answers of Llama 2 and GPT-4 are left out, as their licences ask; odd prompts are left out, as the test needs;
- answers by people from OpenAssistant (Apache-2.0) as further "none".
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parent))
import compose

from harness.data.alignment import label_turn, load_pack
from harness.data.alignment.classifier import Weights, ngrams_of
from harness.data.alignment.compiling import compile_structure
from harness.data.alignment.packfile import PackFile
from harness.data.alignment.reading import fold
from harness.data.alignment.structure import Structure
from harness.nouns import Label

RULES = "alignment@1.0.0"
PACK = Path(__file__).resolve().parents[1] / "alignment@1.2.0.toml"
CORPUS = Path(__file__).resolve().parents[1] / "corpus"
LABELS = tuple(label for label in Label if label is not Label.UNDETERMINED)
XSTEST = {"compliance": Label.NONE, "full_refusal": Label.FULL_REFUSAL, "partial_refusal": Label.PARTIAL_REFUSAL}
COMPOSED = 2400
#: N-grams in fewer turns, or with smaller weights, are left out; so are measures of fewer turns.
FEWEST, LEAST, FEWEST_MEASURED = 2, 0.3, 3
#: How much lighter than measures n-grams are penalised (their values are multiplied by this), and the inverse penalty.
SCALE, STRENGTH = 4.0, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One labelled turn; turns of one group are never on both sides of a split; `weight` counts in the fit."""

    user: str
    text: str
    label: Label
    group: str
    weight: float = 1.0


def examples(chats: Path) -> list[Example]:
    """Return everything the weights are fitted on; `chats` holds refusals_xstest and oasst_en100_trees."""
    return [
        *written(),
        *composed(),
        *xstest(chats / "refusals_xstest.jsonl.gz"),
        *people(chats / "oasst_en100_trees.jsonl.gz"),
    ]


def written() -> Iterator[Example]:
    """Yield the corpus written for this project."""
    for path in sorted(CORPUS.glob("*.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            user, text, label = row["user"], row["text"], Label(row["label"])
            yield Example(user=user, text=text, label=label, group=f"{path.stem}:{user}", weight=2.0)


def composed() -> Iterator[Example]:
    """Yield the composed turns."""
    for user, text, label in compose.turns(COMPOSED):
        yield Example(user=user, text=text, label=label, group=f"composed {len(text) % 10}", weight=0.5)


def xstest(path: Path, *, every: bool = False) -> Iterator[Example]:
    """Yield the answers to even-numbered prompts: the Mistral models', or for validation those of every model."""
    for row in _rows(path):
        number = int(row["id"].rsplit("-", 1)[1])
        if number % 2 == 0 and (every or row["model"].startswith("mistral")):
            user, text = (turn["value"] for turn in row["conversations"])
            yield Example(user=user, text=text, label=XSTEST[row["label"]], group=f"xstest {number}")


def people(path: Path) -> Iterator[Example]:
    """Yield the assistants' messages of OpenAssistant trees, written by people; the rules' finds are left out."""
    pack = load_pack(RULES)
    for tree in _rows(path):
        waiting = [(tree["prompt"], "")]
        while waiting:
            message, user = waiting.pop()
            text, assistant = message["text"], message["role"] == "assistant"
            if assistant and label_turn(text, user, pack).label is Label.NONE:
                yield Example(user=user, text=text, label=Label.NONE, group=tree["message_tree_id"], weight=0.5)
            waiting += [(reply, user if assistant else text) for reply in message.get("replies", ())]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What is known of every example before anything is fitted."""

    ngrams: list[set[str]]
    measures: list[dict[str, float]]

    @classmethod
    def of(cls, data: list[Example], structure: Structure) -> Features:
        """Read all examples as the engine does."""
        folded = [(fold(example.text), fold(example.user)) for example in data]
        return cls(
            ngrams=[set(ngrams_of(text, user)) for text, user in folded],
            measures=[structure.measures(text, user) for text, user in folded],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """One softmax regression with the numbers of its features."""

    model: LogisticRegression
    ngrams: dict[str, int]
    measures: dict[str, int]

    @classmethod
    def on(cls, seen: list[int], data: list[Example], features: Features) -> Fitted:
        """Fit on the examples with these numbers."""
        ngrams = vocabulary([features.ngrams[i] for i in seen], FEWEST)
        measures = vocabulary([features.measures[i] for i in seen], FEWEST_MEASURED)
        model = LogisticRegression(C=STRENGTH, max_iter=500, tol=1e-4)
        rows, labels = matrix(seen, features, ngrams, measures), [data[i].label.value for i in seen]
        model.fit(rows, labels, sample_weight=[data[i].weight for i in seen])
        return cls(model=model, ngrams=ngrams, measures=measures)

    def says(self, unseen: list[int], features: Features) -> list[Label]:
        """Return the likeliest label of each of these."""
        return list(map(Label, self.model.predict(matrix(unseen, features, self.ngrams, self.measures))))

    def save(self, path: Path) -> int:
        """Write the weights, n-grams with their scale put in; return how many there are."""
        order = [list(self.model.classes_).index(label.value) for label in LABELS]
        weights = self.model.coef_[order].T
        scaled = {name: weights[number] * SCALE for name, number in self.ngrams.items()}
        rows = {name: row.round(2).tolist() for name, row in scaled.items() if np.abs(row).max() >= LEAST}
        shift = len(self.ngrams)
        rows |= {name: weights[shift + number].round(2).tolist() for name, number in self.measures.items()}
        Weights.save(path, LABELS, self.model.intercept_[order].tolist(), rows)
        return len(rows)


def vocabulary(features: Sequence[Iterable[str]], fewest: int) -> dict[str, int]:
    """Number the features that occur in at least `fewest` turns."""
    counts = Counter(name for row in features for name in row)
    return {name: number for number, name in enumerate(sorted(n for n, c in counts.items() if c >= fewest))}


def matrix(chosen: list[int], features: Features, ngrams: dict[str, int], measures: dict[str, int]) -> csr_matrix:
    """Return the design matrix: n-grams as at run time times `SCALE`, then the measures."""
    starts, columns, values = [0], [], []
    for i in chosen:
        known = sorted(ngrams[name] for name in features.ngrams[i] if name in ngrams)
        columns += known
        values += [SCALE / np.sqrt(max(1, len(known)))] * len(known)
        measured = sorted((measures[name], value) for name, value in features.measures[i].items() if name in measures)
        columns += [len(ngrams) + number for number, _ in measured]
        values += [value for _, value in measured]
        starts.append(len(columns))
    return csr_matrix((values, columns, starts), shape=(len(chosen), len(ngrams) + len(measures)))


def validate(data: list[Example], features: Features, others: list[Example], unfitted: Features) -> None:
    """Print how well unseen files of the corpus, and unseen models' answers to unseen prompts, are labelled."""
    numbers = list(range(len(data)))
    for name in sorted({example.group.partition(":")[0] for example in data if example.group.startswith("written")}):
        unseen = [i for i in numbers if data[i].group.startswith(f"{name}:")]
        fit = Fitted.on([i for i in numbers if i not in set(unseen)], data, features)
        show(f"corpus, without {name}", [data[i].label for i in unseen], fit.says(unseen, features))
    truth: list[Label] = []
    said: list[Label] = []
    prompts = sorted({example.group for example in others})
    for fold_number in range(5):
        left = set(prompts[fold_number::5])
        fit = Fitted.on([i for i in numbers if data[i].group not in left], data, features)
        unseen = [i for i, example in enumerate(others) if example.group in left]
        truth += [others[i].label for i in unseen]
        said += fit.says(unseen, unfitted)
    show("XSTest, even prompts, unseen ones", truth, said)


def show(name: str, truth: list[Label], said: list[Label]) -> None:
    """Print recall and precision of every label."""
    parts = []
    for label in LABELS:
        right = sum(a is b is label for a, b in zip(truth, said, strict=True))
        if label in truth:
            parts.append(f"{label.value} {right}/{truth.count(label)} (of {said.count(label)})")
    print(f"  {name:34} found/there (of said): " + ", ".join(parts))


def main() -> None:
    """Validate, fit on everything, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=Path, required=True, help="folder with refusals_xstest.jsonl.gz and OASST")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--skip-validation", action="store_true")
    options = parser.parse_args()
    pack = PackFile.model_validate(tomllib.loads(PACK.read_text(encoding="utf-8")))
    structure = compile_structure(pack, str(PACK))
    assert structure is not None, "the pack names what is measured"
    data = examples(options.chats)
    print(len(data), "turns:", dict(Counter(example.label.value for example in data)))
    features = Features.of(data, structure)
    if not options.skip_validation:
        others = list(xstest(options.chats / "refusals_xstest.jsonl.gz", every=True))
        validate(data, features, others, Features.of(others, structure))
    fit = Fitted.on(list(range(len(data))), data, features)
    print(f"{fit.save(options.output)} features written to {options.output}")


if __name__ == "__main__":
    main()
