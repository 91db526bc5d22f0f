"""Proof that a model in memory computes with the weights of a folder, in any precision.

Owns the comparison of a vLLM model with safetensors files: tensors that lie open are compared bit for bit, layers that
keep a packed copy of their weights are asked for them (a layer's answers to the unit vectors are its weights, without
any rounding). Does not load weights. Invariant: `compare` returns only when every parameter of the model was found in
the folder and equals it; what it cannot find is an error and never passed over.

Log-probabilities alone prove little in bf16: two checkpoints of one short fine-tuning were 0.06 to 0.14 nats apart,
while vLLM and transformers differ by up to 0.15 on the same one. And packed copies are where a swap goes wrong: with
tied embeddings, vLLM 0.32's reload on CPU leaves the old weights in that of the output head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Unit vectors that a layer is asked at a time.
_ROWS = 512


class Unproved(Exception):
    """The model's weights are not the folder's, or cannot be compared with them."""


def compare(model: Any, folder: Path) -> int:
    """Compare every parameter of a vLLM model with a folder's files; return how many there are.

    Raises:
        Unproved: names the first tensor that differs or is unknown.
    """
    import torch

    files = _Files(folder)
    packed: Mapping[str, Sequence[str]] = getattr(model, "packed_modules_mapping", {})
    count = 0
    with torch.inference_mode():
        for name, module in model.named_modules():
            own = dict(module.named_parameters(recurse=False))
            if "weight" in own and _is_packed(module):
                wanted = files.weight(name, "weight", packed)
                _compare_packed(name, module, wanted)
                own.pop("weight")
                count += 1
            for parameter, tensor in own.items():
                wanted = files.weight(name, parameter, packed)
                _compare_open(f"{name}.{parameter}", tensor, wanted)
                count += 1
    return count


class _Files:
    """The tensors of a folder by the names that a vLLM model gives them."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._where: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = safe_open(path, framework="pt")
            self._where |= dict.fromkeys(file.keys(), file)  # type: ignore[no-untyped-call]

    def weight(self, module: str, parameter: str, packed: Mapping[str, Sequence[str]]) -> Any:
        """Return the tensor of a module's parameter, joined where the model keeps several in one."""
        import torch

        parent, dot, last = module.rpartition(".")
        parts = [f"{parent}{dot}{part}.{parameter}" for part in packed.get(last, (last,))]
        if not all(part in self._where for part in parts):
            parts = [next(self._tied(module, parameter), "")]
        if parts == [""]:
            raise Unproved(f"{module}.{parameter} has no counterpart in the folder's files")
        return torch.cat([self._where[part].get_tensor(part) for part in parts])

    def _tied(self, module: str, parameter: str) -> Iterator[str]:
        """Yield what a module without tensors of its own shares: an output head has the embedding's."""
        if module.rpartition(".")[2] == "lm_head":
            yield from (name for name in self._where if name.endswith(f"embed_tokens.{parameter}"))


def _is_packed(module: Any) -> bool:
    """Whether a module computes with something else than its parameter `weight`."""
    return hasattr(module, "cpu_linear") and hasattr(getattr(module, "quant_method", None), "apply")


def _compare_open(name: str, tensor: Any, wanted: Any) -> None:
    import torch

    # Embeddings are padded to a multiple of 64 rows.
    if not torch.equal(tensor[: len(wanted)], wanted.to(device=tensor.device, dtype=tensor.dtype)):
        raise Unproved(f"{name} differs from the folder's")


def _compare_packed(name: str, module: Any, wanted: Any) -> None:
    import torch

    width = wanted.shape[1]
    weight = module.weight
    dtype = weight.dtype
    wanted = wanted.to(device=weight.device, dtype=dtype).T
    for first in range(0, width, _ROWS):
        rows = torch.zeros(min(_ROWS, width - first), width, dtype=dtype, device=weight.device)
        rows[range(len(rows)), range(first, first + len(rows))] = 1
        given = module.quant_method.apply(module, rows, None)[:, : wanted.shape[1]]
        if not torch.equal(given.to(dtype), wanted[first : first + len(rows)]):
            raise Unproved(f"{name}.weight, as the layer computes with it, differs from the folder's")
