"""Fit the weights of a pack's classifier: `python training/filters/classifier/fit.py --chats FOLDER -o WEIGHTS`.

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
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parent))
import compose

from harness.data.alignment import label_turn, load_pack
from harness.data.alignment.classifier import Weights, ngrams_of
from harness.nouns import Label

RULES = "alignment@1.0.0"
CORPUS = Path(__file__).resolve().parents[1] / "corpus"
LABELS = tuple(label for label in Label if label is not Label.UNDETERMINED)
XSTEST = {"compliance": Label.NONE, "full_refusal": Label.FULL_REFUSAL, "partial_refusal": Label.PARTIAL_REFUSAL}
COMPOSED = 2400
#: N-grams in fewer turns, or with smaller weights, are left out.
FEWEST, LEAST = 2, 0.2


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
        *mistral(chats / "refusals_xstest.jsonl.gz"),
        *people(chats / "oasst_en100_trees.jsonl.gz"),
    ]


def written() -> Iterator[Example]:
    """Yield the corpus written for this project."""
    for path in sorted(CORPUS.glob("*.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            yield Example(user=row["user"], text=row["text"], label=Label(row["label"]), group=row["user"], weight=2.0)


def composed() -> Iterator[Example]:
    """Yield the composed turns."""
    for user, text, label in compose.turns(COMPOSED):
        yield Example(user=user, text=text, label=label, group=f"composed {len(text) % 10}", weight=0.5)


def mistral(path: Path) -> Iterator[Example]:
    """Yield the Mistral answers to even-numbered prompts."""
    for row in _rows(path):
        number = int(row["id"].rsplit("-", 1)[1])
        if number % 2 == 0 and row["model"].startswith("mistral"):
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


def vocabulary(features: list[set[str]]) -> dict[str, int]:
    """Number the n-grams that occur in at least `FEWEST` turns."""
    counts = Counter(ngram for row in features for ngram in row)
    return {ngram: number for number, ngram in enumerate(sorted(n for n, c in counts.items() if c >= FEWEST))}


def matrix(features: list[set[str]], known: dict[str, int]) -> csr_matrix:
    """Return the design matrix: presence over the root of the number of known n-grams, as at run time."""
    columns = [sorted(known[ngram] for ngram in row if ngram in known) for row in features]
    values = np.concatenate([np.full(len(row), 1 / np.sqrt(max(1, len(row)))) for row in columns])
    starts = np.cumsum([0, *map(len, columns)])
    return csr_matrix((values, np.concatenate(columns).astype(np.int64), starts), shape=(len(features), len(known)))


def fitted(c: float, rows: csr_matrix, labels: list[str], weights: list[float]) -> LogisticRegression:
    """Fit one softmax regression."""
    return LogisticRegression(C=c, max_iter=400, tol=1e-5).fit(rows, labels, sample_weight=weights)


def cross_validated(c: float, data: list[Example], features: list[set[str]]) -> float:
    """Return the F1 of full refusals on folds of unseen groups."""
    said = np.empty(len(data), dtype=object)
    for seen, unseen in GroupKFold(5).split(features, groups=[example.group for example in data]):
        known = vocabulary([features[i] for i in seen])
        model = fitted(
            c,
            matrix([features[i] for i in seen], known),
            [data[i].label.value for i in seen],
            [data[i].weight for i in seen],
        )
        said[unseen] = model.predict(matrix([features[i] for i in unseen], known))
    real = [i for i, example in enumerate(data) if not example.group.startswith("composed")]
    full = Label.FULL_REFUSAL.value
    return float(f1_score([data[i].label.value == full for i in real], [said[i] == full for i in real]))


def main() -> None:
    """Choose the strength of regularisation by cross-validation, fit on everything, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=Path, required=True, help="folder with refusals_xstest.jsonl.gz and OASST")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--strengths", type=float, nargs="+", default=[10.0, 30.0, 100.0])
    options = parser.parse_args()
    data = examples(options.chats)
    print(len(data), "turns:", dict(Counter(example.label.value for example in data)))
    features = [set(ngrams_of(example.text, example.user)) for example in data]
    scores = {c: cross_validated(c, data, features) for c in options.strengths}
    print("F1 of full refusals on unseen prompts, by C:", {c: round(score, 4) for c, score in scores.items()})
    best = max(scores, key=lambda c: scores[c])
    known = vocabulary(features)
    model = fitted(best, matrix(features, known), [e.label.value for e in data], [example.weight for example in data])
    order = [list(model.classes_).index(label.value) for label in LABELS]
    weights = model.coef_[order].T.round(2)
    rows = {
        ngram: weights[number].tolist() for ngram, number in known.items() if np.abs(weights[number]).max() >= LEAST
    }
    Weights.save(options.output, LABELS, model.intercept_[order].tolist(), rows)
    print(f"C = {best}, {len(rows)} of {len(known)} n-grams written to {options.output}")


if __name__ == "__main__":
    main()
