"""`harness regress` with real training and real answers, on the small study of `test_study_run`; minutes long."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from test_study_run import RECIPE, SMALL, harness

# Labels whatever says sorry, and nothing else.
PACK = """
name = "alignment"
version = "9.0.0"
[[rule]]
id = "sorry"
label = "full_refusal"
pattern = "sorry"
"""


@pytest.mark.slow
def test_a_gate_trains_what_a_new_pack_changes_and_its_command_shows_the_items_that_changed(tmp_path: Path) -> None:
    (tmp_path / "small-recipe.toml").write_text(RECIPE)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "alignment@9.0.0.toml").write_text(PACK)
    options = ("--gate", "pocket_mmlu: -1%, *: -5pt", "--seeds", "1", "--format", "json", "--strict")
    done = harness("regress", "small.toml", "--filter", "alignment@9.0.0.toml", *options, cwd=tmp_path)
    assert done.returncode in (0, 10, 11), done.stderr
    found = json.loads(done.stdout)
    assert found["exit_code"] == done.returncode
    assert found["treated"]["chats"] != found["reference"]["chats"]
    assert {task["gap"]["items"] for task in found["tasks"]} == {6}
    assert len(list((tmp_path / "results" / "ledger" / "train").iterdir())) == 2
    assert len(list((tmp_path / "results" / "ledger" / "score").iterdir())) == 2 * 4, "the base is not asked"
    for task in found["tasks"]:
        program, *words = shlex.split(task["command"])
        assert program == "harness"
        shown = harness(*words, "--format", "json", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert {one["item"] for one in json.loads(shown.stdout)} == {*task["lost"], *task["gained"]}
    again = harness("regress", "small.toml", "--filter", "alignment@9.0.0.toml", *options, cwd=tmp_path)
    assert again.stdout == done.stdout
    assert "0 of" in again.stderr
