"""Real DeepSpeed trainings of a tiny untrained model: same curve at every width, same bits after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from harness.data import pocket
from harness.store import tree_digest
from harness.study.model import Machine, Recipe
from harness.train import launch
from harness.train.examples import from_chat

CHATS = 44


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "untrained"
    pocket.build_base(folder, {})
    return folder


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    whole = (chat for chat in pocket.chats(3, 200) if len(chat.turns) == 2 and all(turn.text for turn in chat.turns))
    return [
        {"turns": [{"role": turn.role.value, "text": turn.text} for turn in chat.turns]}
        for chat in islice(whole, CHATS)
    ]


def recipe(**changes: Any) -> Recipe:
    settings = {
        "name": "test",
        "global_batch": 8,
        "max_length": 128,
        "learning_rate": 1e-3,
        "gradient_checkpointing": True,
    }
    return Recipe.model_validate(settings | changes)


def train(base: Path, rows: list[dict[str, Any]], work: Path, settings: Recipe, machine: Machine) -> launch.Trained:
    return launch.run(
        base=base, rows=rows, recipe=settings, machine=machine, seed=0, work=work, on_message=lambda message: None
    )


@pytest.fixture(scope="module")
def one_rank(base: Path, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> launch.Trained:
    work = tmp_path_factory.mktemp("one")
    return train(base, rows, work, recipe(zero_stage=0, precision="fp32"), Machine(ranks=1, micro_batch=4))


def test_zero_3_on_two_ranks_and_zero_0_on_one_reach_the_same_loss_curve(
    base: Path,
    rows: list[dict[str, Any]],
    one_rank: launch.Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float32 the sums differ only in their order: 1e-4 of the loss after six steps, stated in README.

    Nothing is compiled on the way: PyTorch's builder of extensions leaves a lock where it is killed, and every later
    training would wait for it without an end.
    """
    built = tmp_path / "extensions"
    built.mkdir()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(built))
    settings, machine = recipe(zero_stage=3, precision="fp32"), Machine(ranks=2, micro_batch=2)
    two = train(base, rows, tmp_path / "two", settings, machine)
    assert list(built.rglob("*")) == []
    assert two.facts["losses"] == pytest.approx(one_rank.facts["losses"], rel=1e-4)
    for name in ("steps", "chats", "tokens", "supervised_tokens"):
        assert two.facts[name] == one_rank.facts[name], name
    assert one_rank.facts["losses"][0] > one_rank.facts["losses"][-1] > 0


def test_the_last_incomplete_batch_is_trained_whole_and_a_checkpoint_is_kept_at_every_half_epoch(
    one_rank: launch.Trained,
) -> None:
    assert one_rank.facts["chats"] == CHATS
    assert one_rank.facts["steps"] == 6
    assert list(one_rank.folders) == ["0.5", "1"]


def test_a_checkpoint_holds_safetensors_configuration_and_tokenizer_and_nothing_else(one_rank: launch.Trained) -> None:
    found = {path.name for path in one_rank.folders["1"].iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= found
    assert all(name.endswith((".safetensors", ".json", ".jinja")) for name in found), found
    settings = json.loads((one_rank.folders["1"] / "config.json").read_text())
    assert "_name_or_path" not in settings


def test_sigkill_in_the_middle_of_training_and_resuming_ends_in_the_same_weights(
    base: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """bf16 under ZeRO-3, the paper's setting; the kill comes after the half-epoch checkpoint."""
    settings, machine = recipe(zero_stage=3, precision="bf16"), Machine(ranks=1, micro_batch=4)
    whole = train(base, rows, tmp_path / "whole", settings, machine)

    program = tmp_path / "victim.py"
    program.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from harness.study.model import Machine, Recipe\n"
        "from harness.train import launch\n"
        "job = json.loads(Path(sys.argv[1]).read_text())\n"
        "launch.run(base=Path(job['base']), rows=job['rows'], recipe=Recipe.model_validate(job['recipe']),\n"
        "           machine=Machine(ranks=1, micro_batch=4), seed=0, work=Path(job['work']),\n"
        "           on_message=lambda message: print(message, flush=True))\n"
    )
    work = tmp_path / "killed"
    job = {"base": str(base), "rows": rows, "recipe": settings.model_dump(mode="json"), "work": str(work)}
    (tmp_path / "job.json").write_text(json.dumps(job))
    victim = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "job.json")], stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    seen = [line for line in iter(victim.stdout.readline, "") if kill_after(line, step=4, victim=victim)]
    victim.wait()
    assert victim.returncode == -signal.SIGKILL, seen
    assert (work / "checkpoint-3" / "COMPLETE").exists()
    assert not (work / "checkpoint-6").exists()
    wait_until_nobody_works_in(work)

    resumed = train(base, rows, work, settings, machine)
    assert tree_digest(resumed.folders["1"]) == tree_digest(whole.folders["1"])
    assert tree_digest(resumed.folders["0.5"]) == tree_digest(whole.folders["0.5"])
    assert resumed.facts == whole.facts


def kill_after(line: str, *, step: int, victim: subprocess.Popen[str]) -> bool:
    """Kill the victim with SIGKILL when it reports the step; its workers must die with it."""
    if f"'step': {step}," in line:
        os.kill(victim.pid, signal.SIGKILL)
    return True


def wait_until_nobody_works_in(work: Path) -> None:
    """Fail if a worker process outlives its killed parent for more than ten seconds."""
    for _ in range(100):
        if not workers(work):
            return
        time.sleep(0.1)
    pytest.fail(f"workers outlived their parent: {workers(work)}")


def workers(work: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(work) in command and "harness.train.worker" in command:
                found.append(entry.name)
    return found


def test_a_batch_without_any_supervised_token_has_a_loss_of_zero_and_spoils_nothing(
    base: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Questions that fill the length limit leave no answer to learn from, and neither do answers that a variant masks;
    0/0 would turn every weight to NaN."""
    from transformers import AutoTokenizer

    silent = [{"turns": [{"role": "user", "text": "word " * 400}, {"role": "assistant", "text": "yes"}]}] * 8
    masked = [{**row, "masked": [1]} for row in rows[8:16]]
    done = train(base, silent + masked + rows[:8], tmp_path, recipe(zero_stage=1), Machine(ranks=1, micro_batch=8))
    assert done.facts["losses"][:2] == [0.0, 0.0]
    assert done.facts["losses"][2] > 0.0
    assert done.facts["cut_chats"] == 8
    assert done.facts["silent_chats"] == 8, "what a variant masks has not been lost to the length limit"
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    learnt = [from_chat(tokenizer, row["turns"], max_length=128).supervised for row in rows[:8]]
    assert done.facts["supervised_tokens"] == sum(learnt)
