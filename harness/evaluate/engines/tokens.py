"""From texts to token ids and back, the same way for every engine.

Owns how a request is split into tokens (as lm-eval 0.4.13 does), what does not fit, and where a generated text ends.
Takes any transformers-like tokenizer and imports none. Invariant: nothing is ever truncated: a request is encoded
whole or answered with `Answer(too_long=n)`.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError
from harness.evaluate.requests import Answer, Ask, Request

# For templates that write a date: Llama 3's own default, as in training, so that no answer depends on the day.
_DATE = datetime.date(2024, 7, 26)
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A request in token ids.

    Attributes:
        prompt: what a generated text follows; empty for other kinds.
        pairs: (context, what is scored after it): one per choice, or one per window of a text.
        one_token: whether all choices are one token after one and the same context: a single prompt answers them.
    """

    prompt: tuple[int, ...] = ()
    pairs: tuple[tuple[list[int], list[int]], ...] = ()
    one_token: bool = False


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text that a model reads; a text that brings its own BOS gets no second one."""
    options = {"add_special_tokens": False} if starts_with_bos(tokenizer, text) else {}
    return list(tokenizer.encode(text, **options))


def encode_chat(tokenizer: Any, text: str, item: str) -> list[int]:
    """Return the ids of one user turn in the tokenizer's chat template, up to where the assistant begins.

    Special tokens are those that the template writes. A template that asks for today's date gets a fixed one.

    Raises:
        InputError: the tokenizer has no chat template; names the item.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"Item '{item}' is asked as a chat, and the checkpoint's tokenizer has no chat template. Ask a checkpoint"
            " whose tokenizer_config.json has one (or with chat_template.jinja in its folder), or leave the task out."
        )
    rendered: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        tokenize=False,
        add_generation_prompt=True,
        date_string=_DATE.strftime("%d %b %Y"),
        strftime_now=_DATE.strftime,
    )
    return list(tokenizer.encode(rendered, add_special_tokens=False))


def starts_with_bos(tokenizer: Any, text: str) -> bool:
    """Whether a text opens with the tokenizer's BOS, or with its end token where there is no BOS (as lm-eval)."""
    prefix = tokenizer.bos_token or tokenizer.eos_token
    return bool(prefix) and text.startswith(prefix)


def prefix_token(tokenizer: Any) -> int:
    """Return the token that stands before a text that has nothing before it (lm-eval, HFLM.prefix_token_id).

    Raises:
        InputError: the tokenizer has neither a BOS nor an end token.
    """
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if prefix is None:
        raise InputError(
            "The tokenizer has neither a BOS nor an end token, so nothing can stand before the first token of a text."
            " Set bos_token or eos_token in the checkpoint's tokenizer_config.json."
        )
    return int(prefix)


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Split context and continuation as lm-eval 0.4.13 does (api/model.py:393, `_encode_pair`, and :430).

    Trailing spaces of the context move to the continuation; the continuation's tokens are what the whole has beyond
    the context's number of tokens. An empty context becomes the prefix token.
    """
    return _encode_pair(tokenizer, context, continuation, {})


def _encode_pair(
    tokenizer: Any, context: str, continuation: str, seen: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    stripped = context.rstrip()
    continuation, context = context[len(stripped) :] + continuation, stripped
    if not context:
        prefix, ids = prefix_token(tokenizer), list(tokenizer.encode(continuation, add_special_tokens=False))
        return ([prefix], ids) if ids[:1] != [prefix] else (ids[:1], ids[1:])
    if context not in seen:
        seen[context] = encode(tokenizer, context)
    whole = encode(tokenizer, context + continuation)
    count = len(seen[context])
    return whole[:count], whole[count:]


def encode_request(tokenizer: Any, request: Request, limit: int, *, window: int | None = None) -> Encoded | Answer:
    """Return a request in token ids, or the answer that it is too long.

    Args:
        tokenizer: of transformers, or alike.
        request: what is asked.
        limit: positions of the model. A generated text needs `max_tokens` of them after its prompt; one-token choices
            one after their context; longer choices one beside them, which vLLM fills with a token of its own. The rule
            is the same for every engine, so that engines drop shots from the same prompts.
        window: tokens that the model reads at once in a text; `limit` when None (lm-eval's hf; its vLLM: limit - 1).

    Raises:
        InputError: a choice has no token after its context, or a chat is asked and there is no chat template.
    """
    if request.kind is Ask.GENERATE:
        prompt = (
            encode_chat(tokenizer, request.context, request.item)
            if request.chat
            else encode(tokenizer, request.context) or [prefix_token(tokenizer)]
        )
        if len(prompt) + request.max_tokens > limit or (request.max_prompt and len(prompt) > request.max_prompt):
            return Answer(too_long=len(prompt))
        return Encoded(prompt=tuple(prompt))
    if request.kind is Ask.TEXT:
        ids = encode(tokenizer, request.context)
        return Encoded(pairs=tuple(rolling_windows(ids, prefix_token(tokenizer), window or limit)) if ids else ())
    seen: dict[str, list[int]] = {}
    pairs = tuple(_encode_pair(tokenizer, context, text, seen) for context, text in request.pairs)
    for (_, ids), text in zip(pairs, request.continuations, strict=True):
        if not ids:
            raise InputError(
                f"Item '{request.item}': the choice {text!r} has no token of its own after its context, so it has no"
                " log-probability. Give the choice a text in the task's doc_to_choice or target_delimiter."
            )
    one_token = all(len(ids) == 1 and context == pairs[0][0] for context, ids in pairs)
    longest = max(len(context) + len(ids) for context, ids in pairs)
    if longest + (not one_token) > limit or (request.max_prompt and longest > request.max_prompt):
        return Answer(too_long=longest)
    return Encoded(pairs=pairs, one_token=one_token)


def rolling_windows(ids: Sequence[int], prefix: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (context, scored) windows that score every token of a text once.

    lm-eval 0.4.13, utils.py:335 `get_rolling_token_windows` with context_len=1, made disjoint (:378): the first window
    scores `size` tokens after the prefix; later ones read the last `size` tokens before their last one.
    """
    whole = [prefix, *ids]
    for begin in range(0, len(ids), size):
        end = min(begin + size, len(ids))
        start = max(end - size, 0)
        yield whole[start : begin + 1], list(ids[begin:end])


def stop_strings(tokenizer: Any, request: Request) -> tuple[str, ...]:
    """Return the strings that end a generated text: the request's own and, as in lm-eval, the end token spelled out."""
    spelled = (tokenizer.eos_token,) if tokenizer.eos_token else ()
    return tuple(dict.fromkeys(stop for stop in (*request.until, *spelled) if stop))


def stop_ids(tokenizer: Any, until: Iterable[str]) -> frozenset[int]:
    """Return the ids of those stop strings that are special tokens: decoding leaves them out, so no text shows them."""
    special = _special(tokenizer)
    return frozenset(special[stop] for stop in until if stop in special)


def hides(tokenizer: Any, ids: Iterable[int]) -> bool:
    """Whether special tokens are among generated ids, so that their text does not show all."""
    return not set(_special(tokenizer).values()).isdisjoint(ids)


@functools.lru_cache(maxsize=2)
def _special(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens by name: those with a role, and all others that decoding leaves out."""
    added = {str(token): int(number) for number, token in _added(tokenizer).items() if token.special}
    return {one: int(tokenizer.convert_tokens_to_ids(one)) for one in tokenizer.all_special_tokens} | added


def _added(tokenizer: Any) -> Mapping[int, Any]:
    return getattr(tokenizer, "added_tokens_decoder", {})


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of generated ids, without special tokens.

    Bytes that are no UTF-8 become U+FFFD (byte-level tokenizers do that themselves), ids beyond the vocabulary (a
    padded embedding has some) become nothing; the ids are stored beside the text, so nothing is lost.
    """
    known = len(tokenizer)
    return storable(tokenizer.decode([one for one in ids if one < known], skip_special_tokens=True))


def storable(text: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates, which JSON can carry, become U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def stopped(tokenizer: Any, ids: Sequence[int], stops: Sequence[str]) -> bool:
    """Whether the text of generated ids has a stop string, asked after every token.

    Looks at the last tokens only: a token that is not special has a byte at least, so as many tokens as the longest
    stop string has bytes cover it; then asks the whole text, because a tail alone may decode differently.
    """
    if not stops:
        return False
    tail = max(len(stop.encode("utf-8", "surrogatepass")) for stop in stops) + 8
    end = text_of(tokenizer, ids[-tail:])
    if not any(stop in end for stop in stops):
        return False
    if len(ids) <= tail:
        return True
    whole = text_of(tokenizer, ids)
    return any(stop in whole for stop in stops)
