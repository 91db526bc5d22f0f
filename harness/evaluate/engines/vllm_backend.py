"""vLLM as a backend: one engine that takes the weights of one checkpoint after another.

With `forcing` the only importer of vllm. Owns sampling settings, the swap of weights and its proof. Does not know tasks
or scores. Invariant: it answers only with weights that were compared with the checkpoint's files (see `proof`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.evaluate.engines import proof
from harness.evaluate.engines.tokens import encode_pair, encode_prompt, windows
from harness.evaluate.engines.worker import CannotSwap
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut


@dataclass(kw_only=True)
class _Job:
    """One request in work, as one or several of vLLM's own.

    Attributes:
        shared: whether one prompt reads all continuations, each of one token.
        wanted: per continuation or window of a text, the tokens that are scored.
        parts: (log-probabilities, all likeliest) of those that are finished.
    """

    request: Request
    shared: bool = False
    wanted: list[list[int]] = field(default_factory=list)
    parts: dict[int, tuple[list[float], bool]] = field(default_factory=dict)


class Vllm:
    """A vLLM engine bound to one architecture."""

    def __init__(self, *, dtype: str, max_length: int, server: str = "") -> None:
        """Prepare; the engine starts with the first model.

        Args:
            dtype: "float32" or "bfloat16".
            max_length: longest prompt plus answer in tokens.
        """
        self._dtype, self._room = dtype, max_length
        self._llm: Any = None
        self._model = ""
        self._proof = ""
        self._jobs: dict[str, _Job] = {}
        self._done: list[tuple[str, Answer]] = []
        self._tokenizer: Any = None

    def use(self, model: str) -> dict[str, Any]:
        """Start with a model folder's weights, or swap them in; return facts."""
        import vllm

        if self._llm is None:
            self._start(model)
        elif model != self._model:
            self._swap(model)
        # Answers must not depend on what was asked before.
        self._llm.reset_prefix_cache()
        return {"engine": "vllm", "engine_version": vllm.__version__, "proof": self._proof}

    def _start(self, model: str) -> None:
        from vllm import LLM

        from harness.evaluate.engines.forcing import Forcing

        self._llm = LLM(
            model=model,
            dtype=self._dtype,
            max_model_len=self._room,
            enforce_eager=True,
            seed=0,
            disable_log_stats=True,
            gpu_memory_utilization=float(os.environ.get("HARNESS_GPU_SHARE", "0.85")),
            logits_processors=[Forcing],
        )
        self._model = model
        self._tokenizer = self._llm.get_tokenizer()
        try:
            self._prove(model)
        except proof.Unproved as reason:
            self._proof = f"not compared with the files: {reason}"

    def _swap(self, model: str) -> None:
        if not self._proof.startswith("compared"):
            raise CannotSwap(self._proof)
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": model})
            self._llm.apply_model(_repack_head)
            self._prove(model)
        except proof.Unproved as reason:
            raise CannotSwap(str(reason)) from None
        self._model = model

    def _prove(self, model: str) -> None:
        [count] = self._llm.apply_model(_Comparison(model))
        self._proof = f"compared: {count} parameters"

    @property
    def pending(self) -> int:
        """Requests that are not finished."""
        return len(self._jobs) + len(self._done)

    def submit(self, key: str, request: Request) -> None:
        """Hand a request to vLLM; one whose prompt leaves no room is answered `too_long`."""
        job = _Job(request=request)
        add = {Ask.CHOICES: self._add_choices, Ask.TEXT: self._add_text, Ask.GENERATE: self._add_generation}
        excess = add[request.kind](key, job)
        if excess:
            self._done.append((key, Answer(too_long=excess)))
        else:
            self._jobs[key] = job

    def _add_choices(self, key: str, job: _Job) -> int:
        pairs = [encode_pair(self._tokenizer, *pair) for pair in job.request.pairs]
        longest = max(len(context) + len(continuation) for context, continuation in pairs)
        # A forced token is generated, so the last one needs no place of its own beyond the prompt's.
        if longest > self._room or not all(context for context, _ in pairs):
            return longest
        job.wanted = [continuation for _, continuation in pairs]
        job.shared = len({tuple(context) for context, _ in pairs}) == 1 and all(len(one) == 1 for one in job.wanted)
        if job.shared:
            self._add(f"{key}/0", pairs[0][0], max_tokens=1, logprob_token_ids=sorted({one[0] for one in job.wanted}))
            return 0
        from harness.evaluate.engines.forcing import FORCED

        for place, (context, continuation) in enumerate(pairs):
            options = {"extra_args": {FORCED: continuation}, "logprobs": 0, "ignore_eos": True}
            self._add(f"{key}/{place}", context, max_tokens=len(continuation), **options)
        return 0

    def _add_text(self, key: str, job: _Job) -> int:
        for place, (context, scored) in enumerate(windows(self._tokenizer, job.request.context, self._room - 1)):
            job.wanted.append(scored)
            self._add(f"{key}/{place}", context + scored, max_tokens=1, prompt_logprobs=0)
        return 0

    def _add_generation(self, key: str, job: _Job) -> int:
        request = job.request
        ids = encode_prompt(self._tokenizer, request.context)
        if len(ids) + request.max_tokens > self._room:
            return len(ids) + request.max_tokens
        sampled = {"top_p": request.top_p, "top_k": request.top_k or -1} if request.temperature else {}
        stops = {"stop": list(request.until), "detokenize": True} if request.until else {}
        self._add(
            f"{key}/0",
            ids,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            **sampled,
            **stops,
        )
        return 0

    def _add(self, name: str, ids: Sequence[int], **options: Any) -> None:
        from vllm import SamplingParams

        settings = {"temperature": 0, "detokenize": False} | options
        self._llm.llm_engine.add_request(name, {"prompt_token_ids": list(ids)}, SamplingParams(**settings))

    def step(self) -> list[tuple[str, Answer]]:
        """Let vLLM do one step; return what is finished."""
        finished, self._done = self._done, []
        if not self._jobs:
            return finished
        for output in self._llm.llm_engine.step():
            if output.finished:
                key, _, place = output.request_id.partition("/")
                answer = self._taken(self._jobs[key], int(place.partition("-")[0]), output)
                if answer is not None:
                    del self._jobs[key]
                    finished.append((key, answer))
        return finished

    def _taken(self, job: _Job, place: int, output: Any) -> Answer | None:
        """Take a finished part; return the answer when it was the last one."""
        made = output.outputs[0]
        if job.request.kind is Ask.GENERATE:
            return self._generated(job.request, made)
        wanted = job.wanted[place]
        if job.request.kind is Ask.TEXT:
            tables = output.prompt_logprobs[-len(wanted) :]
            job.parts[place] = ([table[token].logprob for table, token in zip(tables, wanted, strict=True)], False)
        elif job.shared:
            [table], [likeliest] = made.logprobs, made.token_ids
            for number, [token] in enumerate(job.wanted):
                job.parts[number] = ([table[token].logprob], token == likeliest)
        else:
            entries = [table[token] for table, token in zip(made.logprobs, wanted, strict=True)]
            job.parts[place] = ([entry.logprob for entry in entries], all(entry.rank == 1 for entry in entries))
        return _scored(job) if len(job.parts) == len(job.wanted) else None

    def _generated(self, request: Request, made: Any) -> Answer:
        ids = list(made.token_ids)
        ended = made.finish_reason == "stop" and made.stop_reason is None
        if ended or (ids and ids[-1] == self._tokenizer.eos_token_id):
            ids = ids[:-1] if ids[-1] == self._tokenizer.eos_token_id else ids
        text, stop = cut(self._tokenizer.decode(ids, skip_special_tokens=True), request.until)
        finish = "stop" if stop else "end" if ended else "length"
        return Answer(text=text, tokens=tuple(ids), finish=finish, stop=stop)


def _scored(job: _Job) -> Answer:
    """Join the parts of choices, or the windows of a text."""
    parts = [job.parts[place] for place in range(len(job.wanted))]
    sums = [math.fsum(values) for values, _ in parts]
    counts = [len(values) for values, _ in parts]
    if job.request.kind is Ask.TEXT:
        return Answer(logprobs=(math.fsum(sums),), counts=(sum(counts),))
    return Answer(logprobs=tuple(sums), greedy=tuple(likeliest for _, likeliest in parts), counts=tuple(counts))


class _Comparison:
    """The comparison of a model in the engine with a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def __call__(self, model: Any) -> int:
        return proof.compare(model, self._folder)


def _repack_head(model: Any) -> None:
    """Pack the output head again: with tied embeddings a reload leaves the old weights in the packed copy."""
    head = getattr(model, "lm_head", None)
    method = getattr(head, "quant_method", None)
    if method is not None and hasattr(method, "process_weights_after_loading"):
        method.process_weights_after_loading(head)
