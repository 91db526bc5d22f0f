"""Requests of lm-eval as ours: what an engine is asked about one item.

Owns the translation, the generation settings that are supported, and the seeds of samples. Does not render prompts.
Invariant: the texts are lm-eval's own, and a setting that would change an answer is translated or refused, never
dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError
from harness.evaluate.requests import Ask, Request
from harness.evaluate.tasks.loading import Leaf, generation
from harness.randomness import keyed_hash

# lm-eval's own default (models/huggingface.py, `_DEFAULT_MAX_LENGTH` of a generation).
_DEFAULT_NEW_TOKENS = 256
_KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}
# Settings of other engines at the value that means "off"; at any other they would change what is generated.
_OFF = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "n": 1,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "early_stopping": False,
    "use_cache": True,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """How generating tasks are asked."""

    max_new_tokens: int
    samples: int
    temperature: float | None
    sampling_seed: int


def requests_of(leaf: Leaf, task: Any, item: str, instances: Sequence[Any], asking: Asking) -> tuple[Request, ...]:
    """Return what is asked about an item, one request per sample.

    Args:
        instances: lm-eval's requests of the item, one per choice.

    Raises:
        InputError: for what no engine can be asked; names the task and the setting.
    """
    kinds = {instance.request_type for instance in instances}
    first = instances[0]
    if len(kinds) > 1 or (kinds != {"loglikelihood"} and len(instances) > 1):
        raise InputError(
            f"Task '{leaf.name}' asks several things about one item ({', '.join(sorted(kinds))}), which is not"
            " supported."
        )
    for text in (text for instance in instances for text in instance.args[: 1 if kinds == {"generate_until"} else 2]):
        if not isinstance(text, str):
            raise InputError(
                f"Task '{leaf.name}' gives a {type(text).__name__} in place of a text for item '{item}' (a chat, or an"
                " answer that is a number), which is not supported."
            )
    if kinds == {"loglikelihood"}:
        contexts = tuple(instance.args[0] for instance in instances)
        return (
            Request(
                item=item,
                kind=Ask.CHOICES,
                contexts=contexts[:1] if len(set(contexts)) == 1 else contexts,
                continuations=tuple(instance.args[1] for instance in instances),
            ),
        )
    if kinds == {"loglikelihood_rolling"}:
        return (Request(item=item, kind=Ask.TEXT, contexts=(first.args[0],)),)
    return _generated(leaf, task, item, first, asking)


def _generated(leaf: Leaf, task: Any, item: str, instance: Any, asking: Asking) -> tuple[Request, ...]:
    settings = generation(instance.args[1], _DEFAULT_NEW_TOKENS)
    for name, value in settings.items():
        if name not in _KNOWN_SETTINGS and not (name in _OFF and value == _OFF[name]):
            raise InputError(
                f"Task '{leaf.name}' sets generation_kwargs.{name} to {value!r}, which is not supported:"
                f" {', '.join(sorted(_KNOWN_SETTINGS))} are."
            )
    # Both transformers and vLLM sample at 1.0 where a task samples without saying at which temperature.
    own = float(settings.get("temperature", 1.0 if settings["do_sample"] else 0.0))
    temperature = own if asking.temperature is None else asking.temperature
    if asking.samples > 1 and temperature == 0:
        raise InputError(
            f"Task '{leaf.name}' is answered greedily: {asking.samples} samples of it would all be the same. Give a"
            " temperature above 0, or ask for one sample."
        )
    count = asking.samples if asking.samples > 1 else max(int(task.config.repeats or 1), 1)
    tokens = settings["max_gen_toks"]
    # Of the task, not of its definition: profiles whose prompts are equal share their samples.
    place = [leaf.info.of, leaf.subtask if "::" in leaf.name else leaf.info.of, item.partition("/")[2]]
    return tuple(
        Request(
            item=item,
            sample=sample,
            kind=Ask.GENERATE,
            contexts=(instance.args[0],),
            until=tuple(stop for stop in settings["until"] if stop),
            max_tokens=min(tokens, asking.max_new_tokens) if asking.max_new_tokens else tokens,
            temperature=temperature,
            top_p=float(settings.get("top_p", 1.0)) if temperature else 1.0,
            top_k=max(int(settings.get("top_k") or 0), 0) if temperature else 0,
            # 63 bits: what a signed integer of a file format holds.
            seed=keyed_hash(asking.sampling_seed, "sample", *place, str(sample)) >> 1 if temperature else None,
            chat=leaf.info.chat,
        )
        for sample in range(count)
    )
