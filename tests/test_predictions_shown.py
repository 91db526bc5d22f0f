"""`harness predictions`: which item a name means, and what a hostile answer can do to a terminal or a document."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import predictions_output
from harness.commands.predictions import Inspection, Shown
from harness.errors import InputError
from harness.evaluate.requests import Answer, Ask, Request
from harness.store.files import write_jsonl
from harness.study.choice import Choice, score_name

EVIL = "\x1b]0;title\x07\x1b[31m[bold]red[/bold] \u202eright to left " + "x" * 5000


def study(
    root: Path, items: dict[str, list[str]], *, answer: Answer | None = None, score: float = 0.0, prompt: str = ""
) -> Any:
    """Return what stands for a study of two arms over items by task; the treated arm has the score."""
    given = answer or Answer(text=EVIL, finish="end")

    def folder(name: str) -> Path:
        path = root / name.replace("/", "-")
        path.mkdir(parents=True, exist_ok=True)
        return path

    for task, names in items.items():
        kind = {"kind": Ask.CHOICES, "continuations": (" A", EVIL)} if given.logprobs else {"kind": Ask.GENERATE}
        requests = [Request(item=name, contexts=(f"{EVIL} {name}",), **kind) for name in names]  # type: ignore[arg-type]
        write_jsonl(folder(f"items/{task}") / "requests.jsonl", (one.to_row() for one in requests))
        write_jsonl(folder(f"items/{task}") / "items.jsonl", ({"item": name} for name in names))
        for arm in ("aligned", "clean"):
            rows = [
                {**given.to_row(), "item": one.item, "sample": 0, "prompt": prompt or one.prompt, "shots": 2}
                for one in requests
            ]
            write_jsonl(folder(score_name(arm, 0, task, kind="predict")) / "answers.jsonl", rows)
            own = {"scores": {"[b]acc[/b]": score if arm == "clean" else 0.0}, "extracted": {"none": EVIL}}
            write_jsonl(folder(score_name(arm, 0, task)) / "scores.jsonl", ({"item": name, **own} for name in names))
    return SimpleNamespace(
        choice=Choice(
            reference="aligned",
            treated="clean",
            arms=("aligned", "clean"),
            seeds=(0,),
            tasks=tuple(items),
            profiles=("lm-eval",),
            limit=0,
        ),
        study=SimpleNamespace(name="own"),
        infos={task: SimpleNamespace(primary="[b]acc[/b]") for task in items},
        runner=SimpleNamespace(peek=lambda name: SimpleNamespace(output=name)),
        store=SimpleNamespace(root=root, objects=SimpleNamespace(get=folder)),
    )


def named(found: list[Shown]) -> list[tuple[str, str]]:
    return [(one.task, one.item) for one in found]


def test_a_whole_name_in_one_task_is_meant_before_parts_of_names_in_others(tmp_path: Path) -> None:
    look = Inspection(study(tmp_path, {"one": ["one::ages/17"], "two": ["two::ages/170", "two::ages/171"]}))
    assert named(look.item("ages/17")) == [("one", "one::ages/17")]
    assert named(look.item("170")) == [("two", "two::ages/170")]
    with pytest.raises(InputError, match="are named like 'ages/1'"):
        look.item("ages/1")
    with pytest.raises(InputError, match="No item"):
        look.item("18")


def test_an_item_of_two_definitions_is_shown_under_both(tmp_path: Path) -> None:
    look = Inspection(study(tmp_path, {"one": ["drop/7"], "one_strict": ["drop/7"]}))
    assert named(look.item("drop/7")) == [("one", "drop/7"), ("one_strict", "drop/7")]


@pytest.mark.parametrize("answer", [None, Answer(logprobs=(float("-inf"), -1.0), greedy=(False, True), counts=(1, 1))])
def test_what_a_model_wrote_is_shown_and_never_obeyed(
    tmp_path: Path, answer: Answer | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = study(tmp_path, {"one": [f"one/{EVIL[:60]}", "one/b"]}, answer=answer, score=1.0)
    monkeypatch.setattr(predictions_output, "Ablation", lambda *_: own)
    monkeypatch.setenv("COLUMNS", "80")
    predictions_output.show("one/b", None, seed=None, as_json=False)  # type: ignore[arg-type]
    predictions_output.diff(None, seed=None, shown=1, as_json=False)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert "[bold]" in out and "[b]acc" in out
    predictions_output.show("one/b", None, seed=None, as_json=True)  # type: ignore[arg-type]
    predictions_output.diff(None, seed=None, shown=1, as_json=True)  # type: ignore[arg-type]
    text = capsys.readouterr().out
    assert "Infinity" not in text
    first, end = json.JSONDecoder().raw_decode(text)
    assert len(first) == 1 and len(json.loads(text[end:])) == 2


@pytest.mark.parametrize("prompt", ["", "of fewer shots"])
def test_a_prompt_that_lost_shots_is_said_not_to_be_the_one_shown(
    tmp_path: Path, prompt: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predictions_output, "Ablation", lambda *_: study(tmp_path, {"one": ["one/b"]}, prompt=prompt))
    predictions_output.show("one/b", None, seed=None, as_json=False)  # type: ignore[arg-type]
    assert ("it was sent with 2 shots" in " ".join(capsys.readouterr().out.split())) is bool(prompt)
