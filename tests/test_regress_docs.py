"""The documentation of the gate: what it shows is what the program says, and its workflow's commands are valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from harness import layout
from harness.cli import regress_app
from harness.cli.app import app
from harness.commands.regress.language import parse
from harness.errors import InputError
from harness.study import load_study
from harness.study.relabelled import with_packs

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "gate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def workflow() -> dict[str, Any]:
    (text,) = blocks("yaml")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def commands() -> Iterator[list[str]]:
    """Yield the words of every harness command of the workflow, its variables filled in."""
    settings = workflow()
    values = {**settings["env"], "GITHUB_STEP_SUMMARY": "/tmp/page.md"}
    for step in settings["jobs"]["gate"]["steps"]:
        text = re.sub(r"\$([A-Z_]+)", lambda match: values[match[1]], step.get("run", ""))
        if "harness" in text:
            yield shlex.split(text)


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return command and options of a command line, as the program reads it, without running it."""
    group: Any = typer.main.get_command(app)
    name, *rest = words
    command = group.commands[name]
    if hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    return name, command.make_context(name, rest).params


def test_the_workflow_is_one_that_github_reads() -> None:
    found = workflow()
    # YAML reads the key `on` as true.
    assert found[True]["pull_request"]["paths"] == ["training/filters/**"]
    steps = found["jobs"]["gate"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert all(re.fullmatch(r"actions/[a-z-]+(/[a-z]+)?@v\d", step["uses"]) for step in steps if "uses" in step)
    kept = [step for step in steps if "always()" in str(step.get("if"))]
    assert len(kept) == 2, "results and reports of a gate that failed are kept too"


def test_the_commands_of_the_workflow_are_valid() -> None:
    found = list(commands())
    assert len(found) == 2
    study, _ = load_study("pocket")
    for program, *words in found:
        assert program == ".venv/bin/harness"
        name, options = parsed(words)
        assert name == "regress"
        assert parse(options["gate"], study.tasks).of(*study.tasks) is not None
        for pack in (options["filter"], options["against"]):
            assert pack in layout.names("training", "filters")
    assert options["strict"]
    assert options["summary"] == Path("/tmp/page.md")


def test_the_examples_of_the_help_are_valid() -> None:
    group: Any = typer.main.get_command(app)
    text = group.commands["regress"].epilog.replace("\\\n", " ")
    found = [shlex.split(line) for line in text.splitlines() if line.strip().startswith("harness regress")]
    assert len(found) == 2
    for _, *words in found:
        name, options = parsed(words)
        assert name == "regress"
        parse(options["gate"], load_study(options["study"])[0].tasks)


def test_the_checks_that_are_explained_are_checks() -> None:
    explained = re.findall(r"^\| `([a-z_*]+: [^`]+)` \|", PAGE, re.MULTILINE)
    assert len(explained) == 5
    for text in explained:
        parse(text, ["mmlu", "mmlu_strict"])


def test_the_error_that_is_shown_is_the_programs() -> None:
    (shown,) = [block for block in blocks("text") if "cannot be read" in block]
    gate = shown.splitlines()[1].strip()
    with pytest.raises(InputError) as refused:
        parse(gate, load_study("pocket")[0].tasks)
    assert f"Error: {refused.value}\n" == shown


def test_the_command_that_shows_items_names_variants_that_there_are() -> None:
    (line,) = re.findall(r"^    (harness predictions diff .*)$", PAGE, re.MULTILINE)
    _, options = parsed(shlex.split(line)[1:])
    study, names = with_packs(load_study(options["study"])[0], options["variant"].split(","))
    assert set(names) <= set(study.variants)


def test_every_option_of_the_command_is_in_the_documentation() -> None:
    group: Any = typer.main.get_command(app)
    options = [opt for one in group.commands["regress"].params for opt in one.opts if opt.startswith("--")]
    assert [option for option in options if option not in PAGE and option != "--help"] == []


def test_the_names_of_packs_are_completed() -> None:
    group: Any = typer.main.get_command(app)
    options = {one.name: one for one in group.commands["regress"].params}
    for name in ("filter", "against"):
        found = options[name].shell_complete(None, "alignment@1")
        assert [one.value for one in found] == ["alignment@1.0.0", "alignment@1.1.0", "alignment@1.2.0"]
    assert regress_app.pack_names("alignment@0") == ["alignment@0.1.0"]
