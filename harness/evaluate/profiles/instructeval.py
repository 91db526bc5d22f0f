"""The profile `instructeval`: what declare-lab/instruct-eval@49bbd2c does with answers, and with the rows of DROP.

Owns the paper's rules that no YAML can state. Does not render prompts (tasks/*/*_instructeval.yaml) and does not drop
shots. Invariant: line references name what each rule reproduces, flaws included; nothing here is improved.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.evaluate import programs as execution

_LETTERS = "ABCD"


def prefix(text: str, label: str) -> float:
    """Return 1.0 when the stripped answer begins with the label, case and all (mmlu.py:155, bbh.py:68, drop.py:120).

    So "10" counts as right for "1", and "Apples" for "A".
    """
    return float(text.strip().startswith(label))


def letter(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one MMLU answer: the label is the letter of the right choice (mmlu.py:152)."""
    return {"prefix_match": prefix(results[0], _LETTERS[doc["answer"]])}


def target(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one BBH answer: the label is the target as it stands (bbh.py:66)."""
    return {"prefix_match": prefix(results[0], doc["target"])}


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one DROP answer: the label is the only distinct answer (drop.py:118)."""
    return {"prefix_match": prefix(results[0], doc["answer"])}


def drop_answers(row: Mapping[str, Any], *, main: bool) -> list[str]:
    """Return the answers of a DROP row as one flat list of stripped texts, spans of one answer included
    (drop.py:26-27).

    InstructEval reads the hub's `drop`, whose loader (huggingface/datasets, datasets/drop/drop.py, `build_answers`)
    flattens the numbers, dates and spans of `validated_answers` alone: the other annotators' votes.

    Args:
        main: take the first annotator's `answer` as well, for files that keep an equal vote only once.
    """
    votes = row["validated_answers"]
    found = [row["answer"]] if main else []
    found += [
        {part: votes[part][place] for part in ("number", "date", "spans")} for place in range(len(votes["number"]))
    ]
    texts: list[str] = []
    for one in found:
        date = " ".join(one["date"][part] for part in ("day", "month", "year")).strip()
        texts += [text for text in (one["number"], date, *one["spans"]) if text]
    return [text.strip() for text in texts]


def drop_split(
    rows: Iterable[Mapping[str, Any]], *, shots: int = 3, seed: int = 0, main: bool = False
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return (shots, test items) of DROP: only questions with one distinct answer (drop.py:87-95); shots by
    `random.seed(0)` and `random.sample` over these; no test item on a shot's passage (drop.py:63-69).

    Which rows become shots depends on the order of the rows, so only the hub's order gives the paper's own.
    """
    kept = []
    for row in rows:
        answers = drop_answers(row, main=main)
        if len(set(answers)) == 1:
            names = ("query_id", "passage", "question")
            kept.append({**{name: row[name] for name in names}, "answer": answers[0]})
    train = random.Random(seed).sample(kept, k=shots)
    passages = {row["passage"] for row in train}
    return train, [row for row in kept if row["passage"] not in passages]


def completion(text: str) -> str:
    """Return the part of a HumanEval answer that is executed.

    Every line whose indentation is odd gets one space more (human_eval/main.py:63-69, on the whole answer, :93); then
    newlines at the beginning go and the text ends at its first empty line (:36-37).
    """
    lines = [" " + line if (len(line) - len(line.lstrip(" "))) % 2 else line for line in text.split("\n")]
    return "\n".join(lines).lstrip("\n").split("\n\n")[0]


def programs(resps: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return the programs as executed, prompt without its instruction (human_eval/execution.py, `check_program`).

    A filter in lm-eval's sense, called once with all items; execution and its limit of 3 s are those of
    `harness.evaluate.programs`.
    """
    return execution.build_predictions([[completion(text) for text in own] for own in resps], docs)
