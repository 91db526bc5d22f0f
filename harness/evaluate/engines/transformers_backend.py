"""Answers by plain transformers: for machines without vLLM, and the reference that the other engines are held to.

Owns the order in which requests are computed: what begins alike is computed together and once. Does not run the model
(`causal`), split texts (`tokens`) or lay sequences out (`forest`). Invariant: an answer does not depend on what else is
asked, beyond the rounding of the precision (float32: 1e-5 in a log-probability, equal texts).

Penalties in a checkpoint's generation_config.json are not applied, unlike in transformers' own `generate`: a task's
settings alone decide how a text is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.evaluate.engines import files, forest, tokens
from harness.evaluate.engines.causal import CausalModel, Generating
from harness.evaluate.engines.forest import Ids
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut

_NOTHING: Ids = np.zeros(0, np.int64)
# New tokens of one forward pass. Attention of packed sequences is quadratic in it, so wider is not faster on a CPU.
_STRIDE = {"cpu": 1024, "cuda": 8192}
# Bytes that the caches of a generating batch, or the logits of a scoring pass, may take; on a GPU a quarter of what the
# weights leave, because a batch exists twice while it starts.
_ROOM = 1 << 30
_TEXTS = {"cpu": 32, "cuda": 256}
# Tokens that a generating batch makes in one step, so that finished answers leave early.
_PER_STEP = 32
# A shorter beginning costs less to compute again than to keep.
_WORTH_KEEPING = 16


@dataclass(kw_only=True, slots=True)
class _Sequence:
    """One sequence to be scored: `targets[i]` after position `places[i]`, for the request's parts from `part` on."""

    key: str
    part: int
    ids: Ids
    places: Ids
    targets: Ids

    @property
    def first(self) -> int:
        return int(self.places[0])


@dataclass(kw_only=True, slots=True)
class _Scored:
    """What is known of a request whose parts are scored one by one."""

    request: Request
    one_token: bool
    missing: int
    scores: list[list[float]] = field(default_factory=list)
    greedy: list[bool] = field(default_factory=list)

    def answer(self) -> Answer:
        sums = [float(sum(values)) for values in self.scores]
        counts = [len(values) for values in self.scores]
        if self.request.kind is Ask.TEXT:
            return Answer(logprobs=(sum(sums),), counts=(sum(counts),))
        return Answer(logprobs=tuple(sums), greedy=tuple(self.greedy), counts=tuple(counts))


@dataclass(kw_only=True, slots=True)
class _Text:
    """One text to be generated."""

    key: str
    request: Request
    prompt: Ids
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    draw: np.random.Generator | None
    made: list[int] = field(default_factory=list)


class TransformersBackend:
    """A transformers model behind the interface of all engines."""

    name = "transformers"

    def __init__(self, *, dtype: str, max_length: int, device: str | None = None) -> None:
        """Set up without loading anything.

        Args:
            dtype: "float32", "bfloat16" or "float16".
            max_length: positions that a prompt and its answer may take.
            device: "cpu" or "cuda"; CUDA where there is one when None.
        """
        import torch
        import transformers

        self.version = f"{transformers.__version__} torch {torch.__version__}"
        self.dtype, self.max_length = dtype, max_length
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = self.device.partition(":")[0]
        self._stride, self._room, self._texts = _STRIDE[kind], _ROOM, _TEXTS[kind]
        self._model: CausalModel | None = None
        self._stamp: list[Any] = []
        self._forget()

    def _forget(self) -> None:
        self._ready: list[tuple[str, Answer]] = []
        self._sequences: list[_Sequence] = []
        self._unsorted = False
        self._scoring: dict[str, _Scored] = {}
        self._waiting: list[_Text] = []
        self._running: list[_Text] = []
        self._batch: Generating | None = None
        self._cache: Any = None
        self._cached = _NOTHING

    def use(self, model: str) -> dict[str, Any]:
        """Load the weights of a folder; return how they run.

        Raises:
            InputError: the folder lacks weights that its config.json needs.
        """
        assert not self.pending, "answers of the former weights are still wanted"
        if files.stamp(model) != self._stamp:
            self._forget()
            self._model = None  # frees the former weights before the new ones come
            self._model = CausalModel(model, dtype=self.dtype, device=self.device)
            self._stamp = files.stamp(model)
            self._room = (self._model.free_bytes or 4 * _ROOM) // 4
        assert self._model is not None
        return {
            "device": self.device,
            "shares_prefixes": self._model.shares,
            "proof": {"missing_tensors": 0, "mismatched_tensors": 0},
        }

    @property
    def pending(self) -> int:
        """Requests without an answer yet."""
        return len(self._ready) + len(self._scoring) + len(self._waiting) + len(self._running)

    def submit(self, key: str, request: Request) -> None:
        """Take a request under a key.

        Raises:
            InputError: a choice without a token of its own, sampling without a seed.
        """
        assert self._model is not None, "use(model) comes first"
        tokenizer = self._model.tokenizer
        encoded = tokens.encode_request(tokenizer, request, self.max_length)
        if isinstance(encoded, Answer):
            self._ready.append((key, encoded))
        elif request.kind is Ask.GENERATE:
            self._submit_text(key, request, encoded.prompt)
        elif not encoded.pairs:
            self._ready.append((key, Answer(logprobs=(0.0,), counts=(0,))))
        else:
            self._submit_pairs(key, request, encoded)

    def _submit_text(self, key: str, request: Request, prompt: Sequence[int]) -> None:
        assert self._model is not None
        draw = None
        if request.temperature > 0:
            if request.seed is None:
                raise InputError(f"Item '{request.item}' is sampled (temperature > 0) without a seed; give it one.")
            draw = np.random.Generator(np.random.PCG64(request.seed))
        if request.max_tokens < 1:
            self._ready.append((key, Answer(finish="length")))
            return
        tokenizer = self._model.tokenizer
        stops = tokens.stop_strings(tokenizer, request)
        text = _Text(
            key=key,
            request=request,
            prompt=np.array(prompt, np.int64),
            stops=stops,
            stop_ids=tokens.stop_ids(tokenizer, request.until),
            draw=draw,
        )
        self._waiting.append(text)
        self._unsorted = True

    def _submit_pairs(self, key: str, request: Request, encoded: tokens.Encoded) -> None:
        parts = 1 if encoded.one_token else len(encoded.pairs)
        self._scoring[key] = _Scored(
            request=request,
            one_token=encoded.one_token,
            missing=parts,
            scores=[[] for _ in encoded.pairs],
            greedy=[False] * len(encoded.pairs),
        )
        for part, (context, scored) in enumerate(encoded.pairs[:parts]):
            if encoded.one_token:
                ids, places = np.array(context, np.int64), np.full(len(encoded.pairs), len(context) - 1)
                targets = np.array([ids[0] for _, ids in encoded.pairs], np.int64)
            else:
                ids = np.array([*context, *scored[:-1]], np.int64)
                places = np.arange(len(context) - 1, len(ids))
                targets = np.array(scored, np.int64)
            self._sequences.append(_Sequence(key=key, part=part, ids=ids, places=places, targets=targets))
        self._unsorted = True

    def step(self) -> list[tuple[str, Answer]]:
        """Compute one batch of scores, or some tokens of a batch of texts; return what is finished."""
        if self._unsorted:
            # Taken from the end, so that taking is cheap.
            self._sequences.sort(key=lambda one: forest.order(one.ids), reverse=True)
            self._waiting.sort(key=lambda one: (one.request.max_tokens, forest.order(one.prompt)), reverse=True)
            self._unsorted = False
        done, self._ready = self._ready, []
        if self._sequences:
            done += self._score()
        elif self._waiting or self._running:
            done += self._generate()
        return done

    def _score(self) -> list[tuple[str, Answer]]:
        assert self._model is not None
        group = self._next_group()
        cache, cached = self._usable_cache(group)
        packed = forest.pack(cached, [one.ids for one in group])
        rows = np.concatenate([path[one.places] for path, one in zip(packed.paths, group, strict=True)]) - len(cached)
        targets = np.concatenate([one.targets for one in group])
        ascending = np.argsort(rows, kind="stable")
        scores, greedy = np.empty(len(rows)), np.empty(len(rows), dtype=np.bool_)
        scores[ascending], greedy[ascending] = self._model.score(
            packed, cache, rows[ascending], targets[ascending], stride=self._logit_stride()
        )
        self._keep_for_next(cache, packed.paths[-1], group[-1])
        done, begin = [], 0
        for one in group:
            part = slice(begin, begin + len(one.targets))
            done += self._part_scored(one, scores[part].tolist(), greedy[part].tolist())
            begin = part.stop
        return done

    def _logit_stride(self) -> int:
        assert self._model is not None
        return max(16, min(self._stride, self._room // (8 * self._model.vocabulary)))

    def _next_group(self) -> list[_Sequence]:
        """Take sequences until their new tokens fill a forward pass; one alone where nothing can be shared."""
        assert self._model is not None
        group: list[_Sequence] = []
        fresh, before = 0, self._cached
        while self._sequences:
            one = self._sequences[-1]
            fresh += len(one.ids) - forest.shared_length(before, one.ids)
            if group and (fresh > self._stride or not self._model.shares):
                break
            group.append(self._sequences.pop())
            before = one.ids
        return group

    def _usable_cache(self, group: list[_Sequence]) -> tuple[Any, Ids]:
        """Return the kept cache, cropped to what the group begins with and does not want scored."""
        assert self._model is not None
        length = forest.shared_length(self._cached, group[0].ids)
        for one in group:
            if forest.shared_length(self._cached[:length], one.ids) > one.first:
                length = one.first
        if length < _WORTH_KEEPING or not self._model.shares:
            return self._model.empty_cache(), _NOTHING
        if length < len(self._cached):
            self._cache = self._model.keep(self._cache, np.arange(length))
        return self._cache, self._cached[:length]

    def _keep_for_next(self, cache: Any, path: Ids, last: _Sequence) -> None:
        assert self._model is not None
        self._cache, self._cached = None, _NOTHING
        if not self._sequences or not self._model.shares:
            return
        following = self._sequences[-1]
        length = min(forest.shared_length(last.ids, following.ids), following.first)
        if length >= _WORTH_KEEPING:
            self._cache, self._cached = self._model.keep(cache, path[:length]), last.ids[:length]

    def _part_scored(self, one: _Sequence, scores: list[float], greedy: list[bool]) -> list[tuple[str, Answer]]:
        state = self._scoring[one.key]
        if state.one_token:
            state.scores, state.greedy = [[score] for score in scores], greedy
        else:
            state.scores[one.part], state.greedy[one.part] = scores, all(greedy)
        state.missing -= 1
        if state.missing:
            return []
        del self._scoring[one.key]
        return [(one.key, state.answer())]

    def _generate(self) -> list[tuple[str, Answer]]:
        """Make up to `_PER_STEP` tokens of every running text."""
        assert self._model is not None
        if not self._running:
            self._start_batch()
        done: list[tuple[str, Answer]] = []
        for _ in range(_PER_STEP):
            assert self._batch is not None
            likeliest = self._batch.likeliest()
            open_texts, chosen = [], []
            for place, text in enumerate(self._running):
                token = likeliest[place] if text.draw is None else draw(self._batch.row(place), text.request, text.draw)
                answer = self._extended(text, token)
                if answer is None:
                    open_texts.append(place)
                    chosen.append(token)
                else:
                    done.append((text.key, answer))
            if len(open_texts) < len(self._running):
                self._running = [self._running[place] for place in open_texts]
                if not self._running:
                    self._batch = None
                    break
                self._batch.drop_all_but(open_texts)
            self._batch.append(chosen)
        return done

    def _start_batch(self) -> None:
        assert self._model is not None
        texts: list[_Text] = []
        longest = room = 0
        while self._waiting and len(texts) < self._texts:
            one = self._waiting[-1]
            longest, room = max(longest, len(one.prompt)), max(room, one.request.max_tokens)
            if texts and (len(texts) + 1) * (longest + room) * self._model.token_bytes > self._room:
                break
            texts.append(self._waiting.pop())
        texts.sort(key=lambda one: forest.order(one.prompt))
        room = max(one.request.max_tokens for one in texts)
        self._running = texts
        self._batch = self._model.prefill([one.prompt for one in texts], room=room, stride=self._stride)

    def _extended(self, text: _Text, token: int) -> Answer | None:
        """Append a token to a text; return its answer if it ends there."""
        assert self._model is not None
        tokenizer = self._model.tokenizer
        finish = ""
        if token in self._model.end_ids:
            finish = "end"
        elif token in text.stop_ids:
            finish = "stop"
            text.made.append(token)
        else:
            text.made.append(token)
            if tokens.stopped(tokenizer, text.made, text.stops):
                finish = "stop"
            elif len(text.made) >= text.request.max_tokens:
                finish = "length"
        if not finish:
            return None
        made, stop = cut(tokens.text_of(tokenizer, text.made), text.stops)
        hidden = tokens.hides(tokenizer, text.made)
        return Answer(text=made, tokens=tuple(text.made), finish=finish, stop=stop, hidden=hidden)


def draw(logits: NDArray[np.float64], request: Request, generator: np.random.Generator) -> int:
    """Draw the next token: temperature, then top-k, then top-p (the order of vLLM and transformers).

    One number of the generator is used per token, so a text depends on its own seed and not on its batch.
    """
    scaled = logits / request.temperature
    likely = np.argsort(-scaled, kind="stable")
    if request.top_k > 0:
        likely = likely[: request.top_k]
    weights = np.exp(scaled[likely] - scaled[likely[0]])
    weights /= weights.sum()
    if request.top_p < 1:
        kept = int(np.searchsorted(weights.cumsum(), request.top_p)) + 1
        likely, weights = likely[:kept], weights[:kept]
    edges = weights.cumsum()
    return int(likely[min(int(np.searchsorted(edges, generator.random() * edges[-1], side="right")), len(likely) - 1)])
