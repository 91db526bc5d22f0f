"""Help fits a terminal, and every command line that help, README and docs show is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from harness.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Give every command with its name and its context, groups too."""
    top = typer.main.get_command(app)
    waiting = [("harness", top, top.make_context("harness", [], resilient_parsing=True, terminal_width=80))]
    while waiting:
        name, command, context = waiting.pop()
        yield name, command, context
        for sub, one in getattr(command, "commands", {}).items():
            inner = one.make_context(sub, [], parent=context, resilient_parsing=True, terminal_width=80)
            waiting.append((f"{name} {sub}", one, inner))


def shown() -> Iterator[tuple[str, str]]:
    """Give every command line that a page or a help text shows, with where it stands."""
    texts = [(page.name, page.read_text(encoding="utf-8")) for page in PAGES]
    texts += [(name, command.epilog or "") for name, command, _ in commands()]
    for where, text in texts:
        joined = re.sub(r"\\\n\s*", "", text)
        for line in re.findall(r"^(?:    +|  |\$ )(?:\$ )?(harness .*)$", joined, flags=re.MULTILINE):
            yield where, line


def test_every_help_fits_80_columns() -> None:
    wide = {
        name: [line for line in command.get_help(own).splitlines() if len(line) > 80]
        for name, command, own in commands()
    }
    assert len(wide) > 20
    assert {name: lines for name, lines in wide.items() if lines} == {}


def test_every_command_line_that_is_shown_names_commands_and_options_that_there_are() -> None:
    known = {name: command for name, command, _ in commands()}
    found, wrong = 0, []
    for where, line in shown():
        # What follows two blanks without a sign of the shell is said of the command.
        words = shlex.split(re.split(r"\s{2,}(?=[a-z])|\s[|>]\s", line)[0], comments=True)
        name = "harness"
        while len(words) > 1 and f"{name} {words[1]}" in known:
            name = f"{name} {words.pop(1)}"
        options = {option for one in known[name].params for option in (*one.opts, *one.secondary_opts)} | {
            "--help",
            "-h",
        }
        said = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        if (name == "harness" and not said) or not said <= options:
            wrong.append(f"{where}: {line}")
        found += 1
    assert found > 100
    assert wrong == []
