"""A causal language model of plain transformers: log-probabilities of packed sequences, and batches that generate.

Owns loading, the forward passes and their caches. Does not know requests or texts. Invariant: logits are computed for
the asked positions only and never for [batch, length, vocabulary]; every weight of the model comes from the folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError, WorkerError
from harness.evaluate.engines import forest
from harness.evaluate.engines.forest import Ids, Packed

# Two ways to compute the same log-probabilities agree to about 1e-5 in float32, and to 0.1 in bfloat16.
_AGREEMENT = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


class CausalModel:
    """The weights of one folder on one device.

    Attributes:
        shares: whether sequences can be packed side by side; not so for models with sliding windows, recurrent states
            or positions of their own making, which answer one sequence at a time.
    """

    def __init__(self, folder: str, *, dtype: str, device: str) -> None:
        """Load a folder.

        Raises:
            InputError: weights are missing from it, or have other shapes than config.json says.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        loader: Any = AutoModelForCausalLM
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model, report = loader.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        for kind in ("missing_keys", "mismatched_keys"):
            if report[kind]:
                raise InputError(
                    f"The weights in {folder} are not those of its config.json: {kind.replace('_', ' ')}"
                    f" {sorted(map(str, report[kind]))[:3]}. transformers would fill them with random numbers; save the"
                    " checkpoint again with all its tensors."
                )
        self.model = self.model.to(device).eval()
        self.device, self.dtype = device, dtype
        config = self.model.config.get_text_config()
        self.vocabulary = int(config.vocab_size)
        self._keeps = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        self.token_bytes = _cache_bytes(config, self.model.dtype.itemsize)
        self.shares = _only_full_attention(config, self.model) and self._packing_agrees()

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text: those of generation_config.json (transformers and vLLM use them), the tokenizer's."""
        given = self.model.generation_config.eos_token_id
        ids = given if isinstance(given, list) else [given]
        return frozenset(int(one) for one in [*ids, self.tokenizer.eos_token_id] if one is not None)

    def empty_cache(self) -> Any:
        """Return a cache without tokens."""
        from transformers import DynamicCache

        return DynamicCache() if self.shares else DynamicCache(config=self.model.config)

    def score(
        self, packed: Packed, cache: Any, rows: Ids, tokens: Ids, *, stride: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the log-probability of `tokens[i]` after the new token `rows[i]`, and whether it was the likeliest.

        Args:
            packed: what to feed; its tokens are in `cache` afterwards.
            cache: holds the first `packed.cached` tokens.
            rows: places among the new tokens, ascending.
            tokens: what is scored there.
            stride: new tokens of one forward pass.

        Raises:
            WorkerError: the model computes no numbers.
        """
        import torch

        scores, likeliest = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
        for begin in range(0, len(packed.ids), stride):
            end = min(begin + stride, len(packed.ids))
            low, high = np.searchsorted(rows, [begin, end])
            keep, where = np.unique(rows[low:high] - begin, return_inverse=True)
            with torch.inference_mode():
                logits = self._packed_logits(packed, cache, begin, end, keep)
                if high > low:
                    place, wanted = torch.from_numpy(where), torch.from_numpy(tokens[low:high])
                    place, wanted = place.to(self.device), wanted.to(self.device)
                    values = logits[place, wanted] - torch.logsumexp(logits, -1)[place]
                    scores[low:high] = values.double().cpu().numpy()
                    likeliest[low:high] = (logits.argmax(-1)[place] == wanted).cpu().numpy()
        _refuse_nan(bool(np.isnan(scores).any()))
        return scores, likeliest

    @property
    def free_bytes(self) -> int | None:
        """Bytes of the device's memory that are free; None on a CPU."""
        import torch

        return int(torch.cuda.mem_get_info(self.device)[0]) if self.device.startswith("cuda") else None

    def _packed_logits(self, packed: Packed, cache: Any, begin: int, end: int, keep: Ids) -> Any:
        import torch

        mask = None
        if not packed.is_chain:
            seen = torch.from_numpy(packed.mask(begin, end)).to(self.device)
            # Additive, because eager attention adds it; 0 where seen, the lowest number elsewhere.
            mask = torch.zeros(seen.shape, dtype=self.model.dtype, device=self.device)
            mask = mask.masked_fill_(~seen, torch.finfo(self.model.dtype).min)[None, None]
        return self._logits(
            ids=torch.from_numpy(packed.ids[begin:end])[None].to(self.device),
            positions=torch.from_numpy(packed.positions[begin:end])[None].to(self.device),
            mask=mask,
            cache=cache,
            keep=torch.from_numpy(keep).to(self.device),
        )[0]

    def _logits(self, *, ids: Any, positions: Any, mask: Any, cache: Any, keep: Any) -> Any:
        """Return float32 logits, shape (batch, len(keep), vocabulary)."""
        options = {"logits_to_keep": keep} if self._keeps else {}
        if positions is not None:
            options["position_ids"] = positions
        out = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        logits = out.logits if self._keeps else out.logits[:, keep]
        return logits.float()

    def keep(self, cache: Any, places: Ids) -> Any:
        """Return a cache that holds the tokens at some places of another one, as a chain."""
        import torch

        kept = self.empty_cache()
        index = torch.from_numpy(places).to(self.device)
        for number, layer in enumerate(cache.layers):
            kept.update(layer.keys.index_select(-2, index), layer.values.index_select(-2, index), number)
        return kept

    def prefill(self, prompts: Sequence[Ids], *, room: int, stride: int) -> Generating:
        """Return a batch that has read sorted prompts and can generate `room` tokens."""
        if self.shares:
            return self._prefill_packed(prompts, room, stride)
        import torch

        longest = max(map(len, prompts))
        ids, mask = np.zeros((len(prompts), longest), np.int64), np.zeros((len(prompts), longest), np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
        batch = Generating(self, self.empty_cache(), mask, [len(prompt) for prompt in prompts])
        batch.read(torch.from_numpy(ids).to(self.device), np.maximum(mask.cumsum(1) - 1, 0))
        return batch

    def _prefill_packed(self, prompts: Sequence[Ids], room: int, stride: int) -> Generating:
        """Compute shared beginnings once, then lay every prompt's keys and values out for itself, padded left."""
        import torch
        from transformers import DynamicCache

        packed, cache = forest.pack(np.zeros(0, np.int64), prompts), self.empty_cache()
        lasts = np.array([path[-1] for path in packed.paths])
        found: dict[int, Any] = {}
        for begin in range(0, len(packed.ids), stride):
            end = min(begin + stride, len(packed.ids))
            keep = np.unique(lasts[(lasts >= begin) & (lasts < end)])
            with torch.inference_mode():
                logits = self._packed_logits(packed, cache, begin, end, keep - begin)
            found |= dict(zip(keep.tolist(), logits, strict=True))
        longest = max(map(len, prompts))
        places, mask = np.zeros((len(prompts), longest), np.int64), np.zeros((len(prompts), longest), np.int64)
        for row, path in enumerate(packed.paths):
            places[row, longest - len(path) :], mask[row, longest - len(path) :] = path, 1
        index, spread = torch.from_numpy(places).to(self.device), DynamicCache()
        for layer in cache.layers:
            spread.layers.append(_roomy_layer(layer, index, room))
            layer.keys = layer.values = None
        batch = Generating(self, spread, mask, [len(prompt) for prompt in prompts])
        batch.logits = torch.stack([found[last] for last in lasts.tolist()])
        return batch

    def _packing_agrees(self) -> bool:
        """Whether two packed sequences get the log-probabilities that each gets alone (a probe of seven tokens)."""
        ids = np.arange(7, dtype=np.int64) % self.vocabulary
        branches = sorted([ids[[0, 1, 2, 3, 4]], ids[[0, 1, 2, 5, 6, 4]]], key=forest.order)
        packed = forest.pack(ids[:0], branches)
        rows, targets = np.arange(len(packed.ids)), np.roll(packed.ids, 3)
        try:
            together, _ = self.score(packed, self._plain_cache(), rows, targets, stride=64)
        except (TypeError, ValueError, IndexError, RuntimeError):
            return False
        worst = 0.0
        for branch, path in zip(branches, packed.paths, strict=True):
            alone, _ = self.score(
                forest.pack(ids[:0], [branch]), self._plain_cache(), np.arange(len(branch)), targets[path], stride=64
            )
            worst = max(worst, float(np.abs(alone - together[path]).max()))
        return worst <= _AGREEMENT[self.dtype]

    def _plain_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()


class Generating:
    """A batch of texts in the making; `logits` are those after the last token of each, shape (texts, vocabulary)."""

    def __init__(self, model: CausalModel, cache: Any, mask: NDArray[np.int64], lengths: list[int]) -> None:
        self._model, self._cache, self._mask = model, cache, mask
        self._lengths = np.array(lengths)
        self.logits: Any = None

    def read(self, ids: Any, positions: NDArray[np.int64]) -> None:
        """Feed ids of shape (texts, tokens); the mask already covers them."""
        import torch

        with torch.inference_mode():
            self.logits = self._model._logits(
                ids=ids,
                positions=torch.from_numpy(positions).to(self._model.device),
                mask=torch.from_numpy(self._mask).to(self._model.device),
                cache=self._cache,
                keep=torch.tensor([ids.shape[1] - 1], device=self._model.device),
            )[:, 0]

    def likeliest(self) -> list[int]:
        """Return the likeliest next token of each text.

        Raises:
            WorkerError: the model computes no numbers.
        """
        values, found = self.logits.max(-1)
        _refuse_nan(bool(values.isnan().any()))
        tokens: list[int] = found.tolist()
        return tokens

    def row(self, text: int) -> NDArray[np.float64]:
        """Return the next-token logits of one text."""
        row: NDArray[np.float64] = self.logits[text].double().cpu().numpy()
        return row

    def append(self, tokens: Sequence[int]) -> None:
        """Append one token to each text and compute what follows."""
        import torch

        self._mask = np.concatenate([self._mask, np.ones((len(tokens), 1), np.int64)], axis=1)
        ids = torch.tensor(tokens, device=self._model.device)[:, None]
        self.read(ids, self._lengths[:, None])
        self._lengths = self._lengths + 1

    def drop_all_but(self, texts: Iterable[int]) -> None:
        """Go on with some of the texts only, in the given order."""
        import torch

        kept = np.fromiter(texts, np.int64)
        self._mask, self._lengths = self._mask[kept], self._lengths[kept]
        index = torch.from_numpy(kept).to(self._model.device)
        self.logits = self.logits[index]
        self._cache.batch_select_indices(index)


def _roomy_layer(layer: Any, places: Any, room: int) -> Any:
    """Return a cache layer that spreads packed keys and values over a batch, with room for tokens to come.

    transformers' own layer copies everything for every token it appends.
    """
    from transformers.cache_utils import DynamicLayer

    class Roomy(DynamicLayer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lazy_initialization(layer.keys, layer.values)
            self._both = [self._spread(layer.keys), self._spread(layer.values)]
            self._show(places.shape[1])

        def _spread(self, packed: Any) -> Any:
            batch, length = places.shape
            heads, width = packed.shape[1], packed.shape[3]
            whole = packed.new_empty((batch, heads, length + room, width))
            for row in range(batch):
                whole[row, :, :length] = packed[0].index_select(1, places[row])
            return whole

        def _show(self, length: int) -> None:
            self.keys, self.values = (whole[:, :, :length] for whole in self._both)

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            begin, count = self.get_seq_length(), key_states.shape[-2]
            for whole, fresh in zip(self._both, (key_states, value_states), strict=True):
                whole[:, :, begin : begin + count] = fresh
            self._show(begin + count)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            length = self.get_seq_length()
            self._both = [whole[indices] for whole in self._both]
            self._show(length)

    return Roomy()


def _refuse_nan(found: bool) -> None:
    if found:
        raise WorkerError(
            "The model's log-probabilities are not numbers (NaN), though its weights are: they overflow in this"
            " precision. Evaluate it in float32."
        )


def _only_full_attention(config: Any, model: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    return kinds == {"full_attention"} and not getattr(config, "sliding_window", None) and takes_positions


def _cache_bytes(config: Any, itemsize: int) -> int:
    """Return the bytes that one token takes in the cache."""
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    return 2 * int(config.num_hidden_layers) * groups * width * itemsize
