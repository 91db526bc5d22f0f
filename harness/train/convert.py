"""Turn the GGUF model inside a PyPI package into a plain model folder; run as a worker process.

Owns the one conversion transformers cannot save directly: the dequantized object refuses
`save_pretrained`, so its state is copied into a fresh model of the same class. Invariant: the folder
holds float32 safetensors whose values are exactly the dequantized ones, and the same bytes each time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from harness.process import die_with_parent


def main() -> None:
    """Convert the GGUF file named first into the folder named second."""
    die_with_parent()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))


def convert(gguf: Path, target: Path) -> None:
    """Write model and tokenizer of a GGUF file as a transformers folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    settings = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "torch_dtype"):
        settings.pop(name, None)
    fresh: Any = type(loaded)(type(loaded.config).from_dict(settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.to(torch.float32).save_pretrained(target)
    # HF_HUB_OFFLINE sets `local_files_only`, which is written into tokenizer_config.json: said here, the folder has the
    # same bytes wherever it is made.
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    main()
