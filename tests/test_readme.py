"""What README.md and docs/study.md show is what the program takes, and their links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness.study import Base, Clean, Estimate, Evaluation, Mix, Source, Study, Variant
from harness.study.judging import Controls, Rule

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STUDY = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Return the names that headings of a page have as links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_within_the_documents_leads_to_a_file_and_a_heading() -> None:
    assert len(PAGES) > 10
    wrong = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            place, _, anchor = link.partition("#")
            target = page.parent / place if place else page
            if "://" in link or (target.exists() and (not anchor or anchor in anchors(target))):
                continue
            wrong.append(f"{page.name}: {link}")
    assert wrong == []


def test_every_test_that_a_page_names_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_every_file_of_the_repository_that_a_page_names_exists() -> None:
    top = ("harness", "tasks", "training", "tests", "benchmarks", "docs", "locks")
    files = [path.relative_to(ROOT) for name in top for path in (ROOT / name).rglob("*") if path.is_file()]
    endings = {"/".join(path.parts[start:]) for path in files for start in range(len(path.parts))}
    wrong, count = [], 0
    for page in PAGES:
        for name in re.findall(r"`([\w./@-]+)`", page.read_text(encoding="utf-8")):
            # The map of the code may name a file without its folder; elsewhere such a name may be a reader's own.
            own = name.startswith(tuple(f"{one}/" for one in top))
            if own or (page.name == "CONTRIBUTING.md" and re.search(r"\.(py|md|html|css|js)$", name)):
                count += 1
                wrong += [] if name in endings or (ROOT / name).is_dir() else [f"{page.name}: {name}"]
    assert count > 80
    assert wrong == []


def test_the_study_that_has_every_key_is_one_and_has_every_key() -> None:
    start = STUDY.index("```toml", STUDY.index("This one has every key")) + len("```toml")
    shown = STUDY[start : STUDY.index("```", start)]
    Study.model_validate(tomllib.loads(shown))
    models = (Study, Base, Source, Mix, Clean, Variant, Evaluation, Rule, Controls, Estimate)
    # Those two are files and columns of their own kind of treatment, which docs/chats.md shows.
    keys = {name for model in models for name in model.model_fields} - {"answers", "harmful"}
    assert {name for name in keys if not re.search(rf"^(# )?\[*{name}\b", shown, re.MULTILINE)} == set()
