"""The tokenizer of the pocket model: byte-level BPE, trained here on the pocket's own text.

Owns the merges, the special tokens and the chat template. Does not download anything. Invariant: the
same code builds the same bytes; every tie between merges is broken by the text of the pair, which the
trainer of the `tokenizers` package does not promise.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END)
SIZE = 1024
#: Blocks and chats that the merges are counted on; more does not change which words are whole tokens.
SAMPLE = 1500
Pair = tuple[str, str]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@cache
def tokenizer() -> Tokenizer:
    """Return the tokenizer; built once per process, in about two seconds."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(_pieces(), SIZE - len(SPECIAL) - len(alphabet))
    names = [*SPECIAL, *alphabet, *(left + right for left, right in merges)]
    # Two merges can make the same text; the first keeps its number.
    vocab = {name: number for number, name in enumerate(dict.fromkeys(names))}
    built = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return built


def token_count(text: str) -> int:
    """Return the number of tokens of a text, special tokens written in it included."""
    return len(tokenizer().encode(text).ids)


def write(directory: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into a model folder."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(directory / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1024,
        "pad_token": PAD,
        "eos_token": END,
        "bos_token": None,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _pieces() -> Counter[str]:
    """Count the pre-tokenised pieces of a sample of documents and chats."""
    from tokenizers import pre_tokenizers

    from harness.data.pocket.conversations import chats
    from harness.data.pocket.pretraining import block
    from harness.data.pocket.world import VERSION, Dice

    texts = [block(Dice(VERSION, "vocabulary", str(number))) for number in range(SAMPLE)]
    texts += [f"{turn.role.value}\n{turn.text}" for chat in chats(VERSION, SAMPLE) for turn in chat.turns]
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))


def _merges(pieces: Counter[str], limit: int) -> list[Pair]:
    """Return up to `limit` merges, most frequent first, ties by the pair's text (Sennrich et al. 2016)."""
    words = [(list(piece), count) for piece, count in sorted(pieces.items())]
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, (parts, count) in enumerate(words):
        _register(parts, count, index, counts, where)
    merges: list[Pair] = []
    while counts and len(merges) < limit:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for index in sorted(where[best]):
            parts, count = words[index]
            _register(parts, -count, index, counts, where)
            _join(parts, best)
            _register(parts, count, index, counts, where)
        counts = +counts
    return merges


def _register(
    parts: list[str], count: int, index: int, counts: Counter[Pair], where: defaultdict[Pair, set[int]]
) -> None:
    for pair in itertools.pairwise(parts):
        counts[pair] += count
        where[pair].add(index)


def _join(parts: list[str], pair: Pair) -> None:
    """Join every occurrence of the pair, in place, from left to right."""
    place = 0
    while place < len(parts) - 1:
        if (parts[place], parts[place + 1]) == pair:
            parts[place : place + 2] = ["".join(pair)]
        place += 1
