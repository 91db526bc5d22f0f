"""What a checkpoint is asked, and what it answered: the nouns between tasks, engines and the prediction store.

Owns their plain forms (one JSON object each) and the digests under which answers are found. Does not render
prompts, tokenize or generate. Invariant: a request's `prompt` and `settings` cover everything that an answer may
depend on beyond the checkpoint and the engine, and nothing else: neither the item nor the task.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.canonical import digest

# Characters by which prompts are put in order: enough to tell passages and subjects apart, few enough to keep.
_BEGIN = 96


class Ask(enum.StrEnum):
    """What is wanted of a checkpoint."""

    CHOICES = "choices"
    TEXT = "text"
    GENERATE = "generate"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to a checkpoint.

    Attributes:
        item: whose question it is, for people and for joining; no part of the question.
        sample: which of several samples of one item, from 0; the seed differs, not the prompt.
        kind: "choices": the log-probability of each continuation after its context; "text": the log-probability of
            the whole context (perplexity); "generate": a text after the context.
        contexts: one context, or one per continuation where they differ.
        continuations: what is scored; empty for other kinds.
        until: strings that end a generated text; they are no part of it.
        max_tokens: longest generated text, tokens.
        temperature: 0 = greedy.
        top_p, top_k: nucleus and top-k of sampling; 1.0 and 0 = off.
        seed: of sampling; None for greedy.
        max_prompt: longest prompt in tokens that the scoring profile allows, whatever the model has room for; 0 = any.
        chat: the context is what a user says: the checkpoint reads it in its own chat template, which is part of the
            checkpoint's digest.
    """

    item: str
    kind: Ask
    contexts: tuple[str, ...]
    continuations: tuple[str, ...] = ()
    sample: int = 0
    until: tuple[str, ...] = ()
    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_prompt: int = 0
    chat: bool = False

    @property
    def context(self) -> str:
        """The only context."""
        [context] = self.contexts
        return context

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(context, continuation) of every choice."""
        contexts = self.contexts * len(self.continuations) if len(self.contexts) == 1 else self.contexts
        return list(zip(contexts, self.continuations, strict=True))

    @cached_property
    def prompt(self) -> str:
        """Digest of the texts that the checkpoint reads: 32 hex digits. Arms are paired only where it is equal."""
        said = ["chat"] if self.chat else []
        return digest("prompt", [self.kind, self.contexts, self.continuations, *said])[:32]

    @cached_property
    def settings(self) -> str:
        """Digest of how a text is generated: 32 hex digits."""
        limit = [self.max_prompt] if self.max_prompt else []
        return digest("settings", [*self._how(), self.until, self.max_tokens, *limit])[:32]

    @property
    def key(self) -> str:
        """What its answer is found by, beside checkpoint and engine: 64 hex digits."""
        return self.prompt + self.settings

    @cached_property
    def family(self) -> str:
        """Digest without stop strings and length: greedy answers of one family are beginnings of one another."""
        return self.prompt + digest("family", [*self._how(), self.max_prompt])[:32]

    @property
    def begin(self) -> str:
        """The beginning of its first context, by which requests are put in order."""
        return self.contexts[0][:_BEGIN]

    def whole(self) -> Request:
        """Return itself; see `Reference`."""
        return self

    def _how(self) -> list[Any]:
        sampled = self.temperature > 0
        return [self.temperature, self.top_p, self.top_k, self.seed, self.sample] if sampled else [0.0]

    def to_row(self) -> dict[str, Any]:
        """Return the request as one JSON object."""
        row = {**asdict(self), "kind": self.kind.value}
        if not self.chat:
            # The digest of requests enters keys, and those of plain texts were there before there were chats.
            del row["chat"]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Request:
        """Return the request of `to_row`."""
        lists = {name: tuple(row[name]) for name in ("contexts", "continuations", "until")}
        return cls(**{**row, **lists, "kind": Ask(row["kind"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A request in a file, without its texts: those of a benchmark in full take more memory than all else.

    Attributes:
        path, offset: where the request is, as a line of `to_row`.
        others: as in Request.
    """

    path: Path
    offset: int
    item: str
    kind: Ask
    sample: int
    prompt: str
    key: str
    family: str
    begin: str
    until: tuple[str, ...]
    max_tokens: int
    temperature: float

    def whole(self) -> Request:
        """Read the request."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return Request.from_row(json.loads(file.readline()))


def references(path: Path) -> Iterator[Reference]:
    """Yield a reference to every request of a file."""
    offset = 0
    shared: dict[Any, Any] = {}
    with path.open("rb") as file:
        for line in file:
            one = Request.from_row(json.loads(line))
            yield Reference(
                path=path,
                offset=offset,
                item=one.item,
                kind=one.kind,
                sample=one.sample,
                prompt=one.prompt,
                key=one.key,
                family=one.family if one.kind is Ask.GENERATE else "",
                begin=shared.setdefault(one.begin, one.begin),
                until=shared.setdefault(one.until, one.until),
                max_tokens=one.max_tokens,
                temperature=one.temperature,
            )
            offset += len(line)


Question = Request | Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a checkpoint answered to one request.

    Attributes:
        logprobs: natural log-probability of each continuation (kind "choices"), or of the whole text (one number).
        greedy: whether each continuation is what greedy decoding would have said.
        counts: tokens of each continuation, or of the text.
        text: generated text, before its first stop string.
        tokens: ids of the generated tokens, with those of a stop string, without an end-of-text token.
        finish: "stop" (a stop string), "end" (the model ended the text) or "length".
        stop: the stop string that ended it; text + stop is a beginning of what was generated.
        too_long: 0, or the number of tokens of a prompt that leaves no room for its answer: it was not asked.
        hidden: whether special tokens are among the generated ones, which the text does not show: any stop string could
            be one of them, so other questions cannot be answered from this text.
    """

    logprobs: tuple[float, ...] = ()
    greedy: tuple[bool, ...] = ()
    counts: tuple[int, ...] = ()
    text: str = ""
    tokens: tuple[int, ...] = ()
    finish: str = ""
    stop: str = ""
    too_long: int = 0
    hidden: bool = False

    def to_row(self) -> dict[str, Any]:
        """Return the answer as one JSON object."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Answer:
        """Return the answer of `to_row`; what a row lacks is empty."""
        lists = {name: tuple(row.get(name, ())) for name in ("logprobs", "greedy", "counts", "tokens")}
        return cls(**{**row, **lists})
