"""The inference process: one vLLM engine that takes the weights of one checkpoint after another.

The only module that imports vllm. Owns tokenization of requests, sampling settings and the swap of
weights. Does not know tasks or scores. Invariant: an answer is written only after the swapped-in
weights have proved to be the checkpoint's own (a fingerprint against a fresh load by transformers).
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from harness.process import die_with_parent, send
from harness.store.files import read_jsonl, write_jsonl

# Largest difference between the log-probabilities of vLLM and transformers on the fingerprint's tokens:
# fp32 agrees to 2e-5 on CPU; in bf16 single tokens differ by up to 0.2 and the mean by 0.05.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15}
_FINGERPRINT = ("The quick brown fox jumps over the lazy dog. 12 + 30 = 42.", "def main():\n    return None\n")


def main() -> None:
    """Answer jobs from standard input, one JSON line each, until it closes."""
    die_with_parent()
    engine: Engine | None = None
    for line in sys.stdin:
        job = json.loads(line)
        if engine is None:
            engine = Engine(model=job["model"], dtype=job["dtype"], max_length=job["max_length"])
        else:
            engine.use(job["model"])
        facts = engine.answer(Path(job["requests"]), Path(job["output"]))
        send({"event": "done", "facts": facts})


class Engine:
    """A vLLM engine bound to one architecture."""

    def __init__(self, *, model: str, dtype: str, max_length: int) -> None:
        """Start the engine on a first model folder.

        Args:
            model: path of a transformers folder.
            dtype: "float32" or "bfloat16".
            max_length: longest prompt plus answer in tokens.
        """
        import vllm
        from vllm import LLM

        self.version = vllm.__version__
        self.dtype, self.max_length = dtype, max_length
        self.llm = LLM(
            model=model,
            dtype=dtype,
            max_model_len=max_length,
            enforce_eager=True,
            seed=0,
            disable_log_stats=True,
            gpu_memory_utilization=float(os.environ.get("HARNESS_GPU_SHARE", "0.85")),
        )
        self.model = model
        self.tokenizer: Any = self.llm.get_tokenizer()
        self._prove()

    def use(self, model: str) -> None:
        """Swap in the weights of another checkpoint of the same architecture."""
        if model != self.model:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": model})
            self.llm.apply_model(_repack_head)
            self.model = model
            self._prove()
        # Answers must not depend on what was asked before.
        self.llm.reset_prefix_cache()

    def _prove(self) -> None:
        """Compare log-probabilities of fixed texts with those of the folder's own weights.

        Raises:
            RuntimeError: when the engine answers with other weights.
        """
        import torch
        from transformers import AutoModelForCausalLM

        reference: Any = AutoModelForCausalLM.from_pretrained(self.model, dtype=getattr(torch, self.dtype))
        worst = 0.0
        for text in _FINGERPRINT:
            ids = self.tokenizer.encode(text)[: self.max_length - 1]
            with torch.inference_mode():
                logits = reference(torch.tensor([ids])).logits[0].float()
            wanted = torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]].tolist()
            [given], _ = self._score_prompts([(ids, 1)])
            distance = sum(abs(a - b) for a, b in zip(wanted, given, strict=True)) / len(given)
            # `max` would drop a NaN and call broken weights proved.
            worst = distance if math.isnan(distance) else max(worst, distance)
        if not worst <= _TOLERANCE[self.dtype]:
            raise RuntimeError(
                f"After loading {self.model} the engine's log-probabilities differ from the checkpoint's by {worst:.4f}"
                f" on average (allowed: {_TOLERANCE[self.dtype]}); its answers would not be this checkpoint's."
            )
        self.fingerprint_error = worst

    def answer(self, requests: Path, output: Path) -> dict[str, Any]:
        """Answer a file of requests into a file of answers, both in item order.

        A request is {"item", "kind": "choices", "context", "continuations"} or {"item", "kind": "generate",
        "context", "until", "max_tokens", "temperature", "seed"}; an answer {"item", "logprobs", "greedy"} or
        {"item", "text", "tokens", "finish"}.
        """
        rows = list(read_jsonl(requests))
        answers: dict[str, dict[str, Any]] = {}
        choices = [row for row in rows if row["kind"] == "choices"]
        generations = [row for row in rows if row["kind"] == "generate"]
        self._done, self._total, self._cut = 0, len(rows), 0
        answers |= self._choices(choices)
        answers |= self._generations(generations)
        write_jsonl(output, [answers[row["item"]] for row in rows])
        return {
            "engine": "vllm",
            "engine_version": self.version,
            "dtype": self.dtype,
            "truncated_prompts": self._cut,
            "unfinished": sum(answer.get("finish") == "length" for answer in answers.values()),
            "generated_tokens": sum(answer.get("tokens", 0) for answer in answers.values()),
        }

    def _choices(self, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Score continuations: one prompt per item where every continuation is one token, else one for each."""
        single: list[tuple[dict[str, Any], Any]] = []
        multiple: list[tuple[dict[str, Any], Any]] = []
        for row in rows:
            pairs = [encode_pair(self.tokenizer, row["context"], text) for text in row["continuations"]]
            same_context = all(pair[0] == pairs[0][0] for pair in pairs)
            (single if same_context and all(len(pair[1]) == 1 for pair in pairs) else multiple).append((row, pairs))
        answers = {}
        for group in _chunks(single, 256):
            prompts = [self._fit(pairs[0][0], 1) for _, pairs in group]
            wanted = [[pair[1][0] for pair in pairs] for _, pairs in group]
            for (row, _), scores in zip(group, self._next_token(prompts, wanted), strict=True):
                answers[row["item"]] = {"item": row["item"], "logprobs": scores[0], "greedy": scores[1]}
            self._progress(len(group))
        for group in _chunks(multiple, 32):
            flat = [(self._fit(context + text, 1), len(text)) for _, pairs in group for context, text in pairs]
            scored, greedy = self._score_prompts([(ids, len(ids) - count) for ids, count in flat])
            at = 0
            for row, pairs in group:
                part = slice(at, at + len(pairs))
                answers[row["item"]] = {
                    "item": row["item"],
                    "logprobs": [sum(values) for values in scored[part]],
                    "greedy": greedy[part],
                }
                at += len(pairs)
            self._progress(len(group))
        return answers

    def _next_token(self, prompts: list[list[int]], wanted: list[list[int]]) -> list[tuple[list[float], list[bool]]]:
        """Return per prompt the log-probabilities of the wanted next tokens and which of them is the likeliest."""
        from vllm import SamplingParams

        sampling = [
            SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=sorted(set(ids)), detokenize=False)
            for ids in wanted
        ]
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        results = []
        for output, ids in zip(outputs, wanted, strict=True):
            first = output.outputs[0]
            table, likeliest = first.logprobs[0], first.token_ids[0]
            results.append(([table[token].logprob for token in ids], [token == likeliest for token in ids]))
        return results

    def _score_prompts(self, prompts: list[tuple[list[int], int]]) -> tuple[list[list[float]], list[bool]]:
        """Return the log-probabilities of each prompt's tokens from a position on, and whether all were likeliest."""
        from vllm import SamplingParams

        sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, detokenize=False)
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids, _ in prompts], sampling, use_tqdm=False)
        scores, greedy = [], []
        for output, (ids, begin) in zip(outputs, prompts, strict=True):
            entries = [(output.prompt_logprobs[place], ids[place]) for place in range(begin, len(ids))]
            scores.append([table[token].logprob for table, token in entries])
            greedy.append(all(table[token].rank == 1 for table, token in entries))
        return scores, greedy

    def _generations(self, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Generate with continuous batching; stop strings end an answer and are not part of it."""
        from vllm import SamplingParams

        answers: dict[str, dict[str, Any]] = {}
        engine = self.llm.llm_engine
        for place, row in enumerate(rows):
            ids = self._fit(self.tokenizer.encode(row["context"], **self._specials(row["context"])), row["max_tokens"])
            sampling = SamplingParams(
                max_tokens=row["max_tokens"], temperature=row["temperature"], stop=row["until"], seed=row["seed"]
            )
            engine.add_request(str(place), {"prompt_token_ids": ids}, sampling)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if not output.finished:
                    continue
                row, made = rows[int(output.request_id.split("-")[0])], output.outputs[0]
                text = self.tokenizer.decode(made.token_ids, skip_special_tokens=True)
                for stop in [*row["until"], self.tokenizer.eos_token]:
                    text = text.split(stop)[0] if stop else text
                answers[row["item"]] = {
                    "item": row["item"],
                    "text": text,
                    "tokens": len(made.token_ids),
                    "finish": made.finish_reason,
                }
                self._progress(1)
        return answers

    def _specials(self, text: str) -> dict[str, bool]:
        return {"add_special_tokens": False} if _starts_with_bos(self.tokenizer, text) else {}

    def _fit(self, ids: list[int], room: int) -> list[int]:
        """Drop the start of a prompt that leaves no room for its answer, as lm-eval does; count it."""
        limit = self.max_length - room
        assert limit > 0, "the runner refuses answers that leave no room for a prompt"
        if len(ids) > limit:
            self._cut += 1
            return ids[-limit:]
        return ids

    def _progress(self, items: int) -> None:
        self._done += items
        send({"event": "items", "done": self._done, "total": self._total})


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Split context and continuation as lm-eval 0.4.13 does (api/model.py:393, `_encode_pair`).

    Trailing spaces of the context move to the continuation; the continuation's tokens are what the whole
    has beyond the context's number of tokens.
    """
    spaces = len(context) - len(context.rstrip())
    if spaces:
        continuation, context = context[-spaces:] + continuation, context[:-spaces]
    options = {"add_special_tokens": False} if _starts_with_bos(tokenizer, context) else {}
    whole = tokenizer.encode(context + continuation, **options)
    count = len(tokenizer.encode(context, **options))
    return whole[:count], whole[count:]


def _starts_with_bos(tokenizer: Any, text: str) -> bool:
    prefix = tokenizer.bos_token or tokenizer.eos_token
    return bool(prefix) and text.startswith(prefix)


def _chunks(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[place : place + size] for place in range(0, len(rows), size)]


def _repack_head(model: Any) -> None:
    """Pack the output head again: with tied embeddings a reload leaves the old weights in the packed copy."""
    head = getattr(model, "lm_head", None)
    method = getattr(head, "quant_method", None)
    if method is not None and hasattr(method, "process_weights_after_loading"):
        method.process_weights_after_loading(head)


if __name__ == "__main__":
    main()
