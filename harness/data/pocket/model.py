"""The untrained base model of the pocket study: a tiny Llama with seeded weights.

Owns the architecture and the folder's layout. Does not train. Invariant: equal settings give equal bytes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data.pocket import circuits, vocabulary
from harness.errors import InputError, nearest
from harness.process import die_with_parent

#: The only settings there are, with their defaults; head_dim is 32 because vLLM on a CPU refuses 16.
DEFAULTS: dict[str, int | float] = {
    "seed": 0,
    "hidden_size": 128,
    "intermediate_size": 256,
    "layers": 4,
    "heads": 4,
    "initializer_range": 0.05,
}
HEAD_DIM = 32
POSITIONS = 1024


def build_base(directory: Path, settings: Mapping[str, Any]) -> None:
    """Write an untrained model folder that transformers and vLLM load.

    Args:
        directory: made if missing; files in it are overwritten.
        settings: any of `DEFAULTS`.

    Raises:
        InputError: for an unknown setting.
    """
    for name in settings:
        if name not in DEFAULTS:
            raise InputError(f"pocket's base model has no setting '{name}'.{nearest(name, DEFAULTS)}")
    values = {**DEFAULTS, **settings}

    import torch
    import transformers

    library: Any = transformers  # its constructors carry no types

    vocabulary.write(directory)
    ids = vocabulary.tokenizer()
    pad, end = ids.token_to_id(vocabulary.PAD), ids.token_to_id(vocabulary.END)
    config = library.LlamaConfig(
        vocab_size=ids.get_vocab_size(),
        hidden_size=int(values["hidden_size"]),
        intermediate_size=int(values["intermediate_size"]),
        num_hidden_layers=int(values["layers"]),
        num_attention_heads=int(values["heads"]),
        num_key_value_heads=int(values["heads"]),
        head_dim=HEAD_DIM,
        max_position_embeddings=POSITIONS,
        initializer_range=float(values["initializer_range"]),
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        dtype="float32",
    )
    # transformers initialises from the global generator; forking it leaves the caller's untouched.
    with torch.random.fork_rng(devices=[]), _two_threads():
        torch.manual_seed(int(values["seed"]))
        model = library.LlamaForCausalLM(config)
        circuits.structure(model, int(values["seed"]))
    model.generation_config = library.GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    model.save_pretrained(directory, safe_serialization=True)


@contextlib.contextmanager
def _two_threads() -> Iterator[None]:
    """Compute with two threads, whatever OMP_NUM_THREADS and the machine say.

    With one thread the weights have other last digits than with two; with 2, 3 and 8 they are the same. So a base made
    under OMP_NUM_THREADS=1 was another model under the same key.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """Write the untrained model into the folder named first; run as a worker, because transformers is talkative."""
    die_with_parent()
    build_base(Path(sys.argv[1]), {})


if __name__ == "__main__":
    main()
