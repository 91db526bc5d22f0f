"""What the README shows is what the program takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness.study import Base, Clean, Estimate, Evaluation, Mix, Source, Study, Variant
from harness.study.judging import Controls, Rule

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_study_that_has_every_key_is_one_and_has_every_key() -> None:
    start = README.index("```toml", README.index("This one has every key")) + len("```toml")
    shown = README[start : README.index("```", start)]
    Study.model_validate(tomllib.loads(shown))
    models = (Study, Base, Source, Mix, Clean, Variant, Evaluation, Rule, Controls, Estimate)
    # Those two are files and columns of their own kind of treatment, which docs/chats.md shows.
    keys = {name for model in models for name in model.model_fields} - {"answers", "harmful"}
    assert {name for name in keys if not re.search(rf"^(# )?\[*{name}\b", shown, re.MULTILINE)} == set()
