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

from harness.evaluate.engines import files, proof, tokens
from harness.evaluate.engines.worker import CannotSwap
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut


@dataclass(kw_only=True)
class _Job:
    """One request in work, as one or several of vLLM's own.

    Attributes:
        shared: whether one prompt reads all continuations, each of one token.
        wanted: per continuation or window of a text, the tokens that are scored.
        stops, stop_ids: strings and tokens that end a generated text.
        parts: (log-probabilities, all likeliest) of those that are finished.
    """

    request: Request
    shared: bool = False
    wanted: list[list[int]] = field(default_factory=list)
    stops: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    parts: dict[int, tuple[list[float], bool]] = field(default_factory=dict)


class Vllm:
    """A vLLM engine bound to one architecture."""

    def __init__(self, *, dtype: str, max_length: int) -> None:
        """Prepare; the engine starts with the first model.

        Args:
            dtype: "float32" or "bfloat16".
            max_length: longest prompt plus answer in tokens.
        """
        self._dtype, self._room = dtype, max_length
        self._llm: Any = None
        self._stamp: list[Any] = []
        self._texts: dict[str, str] = {}
        self._proof = ""
        self._jobs: dict[str, _Job] = {}
        self._done: list[tuple[str, Answer]] = []
        self._tokenizer: Any = None

    def use(self, model: str) -> dict[str, Any]:
        """Start with a model folder's weights, or swap them in; return facts."""
        import vllm

        if self._llm is None:
            self._start(model)
        elif files.stamp(model) != self._stamp:
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
        self._took(model)
        self._tokenizer = self._llm.get_tokenizer()
        try:
            self._prove(model)
        except proof.Unproved as reason:
            self._proof = f"not compared with the files: {reason}"

    def _swap(self, model: str) -> None:
        if not self._proof.startswith("compared"):
            raise CannotSwap(self._proof)
        if files.about_texts(model) != self._texts:
            # vLLM keeps the tokenizer and the end tokens that it started with.
            raise CannotSwap("another tokenizer or other end tokens")
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": model})
            self._llm.apply_model(_repack_head)
            self._prove(model)
        except proof.Unproved as reason:
            raise CannotSwap(str(reason)) from None
        self._took(model)

    def _took(self, model: str) -> None:
        self._stamp, self._texts = files.stamp(model), files.about_texts(model)

    def _prove(self, model: str) -> None:
        [count] = self._llm.apply_model(_Comparison(model))
        self._proof = f"compared: {count} parameters"

    @property
    def pending(self) -> int:
        """Requests that are not finished."""
        return len(self._jobs) + len(self._done)

    def submit(self, key: str, request: Request) -> None:
        """Hand a request to vLLM; one whose prompt leaves no room is answered `too_long`."""
        # vLLM generates a token after every prompt, so a window of a text has one token less than the model reads.
        encoded = tokens.encode_request(self._tokenizer, request, self._room, window=self._room - 1)
        if isinstance(encoded, Answer):
            self._done.append((key, encoded))
            return
        job = _Job(request=request, shared=encoded.one_token, wanted=[scored for _, scored in encoded.pairs])
        if request.kind is Ask.GENERATE:
            self._add_generation(key, job, encoded.prompt)
            return
        if not encoded.pairs:
            self._done.append((key, Answer(logprobs=(0.0,), counts=(0,))))
            return
        if request.kind is Ask.TEXT:
            for place, (context, scored) in enumerate(encoded.pairs):
                self._add(f"{key}/{place}", context + scored, max_tokens=1, prompt_logprobs=0)
        elif job.shared:
            ids = sorted({token for scored in job.wanted for token in scored})
            self._add(f"{key}/0", encoded.pairs[0][0], max_tokens=1, logprob_token_ids=ids)
        else:
            from harness.evaluate.engines.forcing import FORCED

            for place, (context, scored) in enumerate(encoded.pairs):
                forced = {"extra_args": {FORCED: scored}, "logprobs": 0, "ignore_eos": True}
                self._add(f"{key}/{place}", context, max_tokens=len(scored), **forced)
        self._jobs[key] = job

    def _add_generation(self, key: str, job: _Job, prompt: Sequence[int]) -> None:
        request = job.request
        if request.max_tokens < 1:
            self._done.append((key, Answer(finish="length")))
            return
        options: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.temperature > 0:
            options |= {"seed": request.seed, "top_p": request.top_p, "top_k": request.top_k or -1}
        job.stops = tokens.stop_strings(self._tokenizer, request)
        job.stop_ids = tokens.stop_ids(self._tokenizer, request.until)
        if job.stops:
            options |= {"stop": list(job.stops), "detokenize": True}
        if job.stop_ids:
            options["stop_token_ids"] = sorted(job.stop_ids)
        self._add(f"{key}/0", prompt, **options)
        self._jobs[key] = job

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
            return self._generated(job, made)
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

    def _generated(self, job: _Job, made: Any) -> Answer:
        ids = list(made.token_ids)
        finish = "length"
        if made.finish_reason == "stop":
            # A string, the id of a token in stop_ids or in generation_config.json, or None for the tokenizer's own end.
            reason = made.stop_reason
            finish = "stop" if isinstance(reason, str) or reason in job.stop_ids else "end"
            if finish == "end":
                ids.pop()
        text, stop = cut(tokens.text_of(self._tokenizer, ids), job.stops)
        return Answer(
            text=text,
            tokens=tuple(ids),
            finish="stop" if stop else finish,
            stop=stop,
            hidden=tokens.hides(self._tokenizer, ids),
        )


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
