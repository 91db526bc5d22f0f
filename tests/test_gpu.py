"""What only a CUDA device can show; `pytest -m gpu` runs it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from harness.data import pocket
from harness.study.model import Machine, Recipe
from harness.train import launch

pytestmark = pytest.mark.gpu


def test_xformers_attention_gives_the_loss_of_sdpa_also_with_left_padding(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("xformers", reason="xformers is part of the gpu lock only")
    from transformers import AutoModelForCausalLM

    from harness.train import attention

    pocket.build_base(tmp_path, {})
    attention.register_xformers()
    ids = torch.randint(5, 900, (3, 40), device="cuda")
    mask = torch.ones_like(ids)
    mask[1, :13] = 0
    labels = ids.masked_fill(mask == 0, -100)
    losses = []
    for name in ("sdpa", "xformers"):
        model = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=name, dtype=torch.float32).cuda()
        losses.append(model(input_ids=ids, attention_mask=mask, labels=labels).loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_bf16_zero_3_trains_on_cuda_and_the_record_names_the_attention(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pocket.build_base(tmp_path / "base", {})
    whole = (chat for chat in pocket.chats(3, 200) if len(chat.turns) == 2 and all(turn.text for turn in chat.turns))
    rows = [
        {"turns": [{"role": turn.role.value, "text": turn.text} for turn in chat.turns]} for chat in islice(whole, 64)
    ]
    recipe = Recipe.model_validate({"name": "gpu", "global_batch": 8, "max_length": 128, "learning_rate": 1e-3})
    done = launch.run(
        base=tmp_path / "base",
        rows=rows,
        recipe=recipe,
        machine=Machine(micro_batch=8),
        seed=0,
        work=tmp_path / "work",
        on_message=lambda message: None,
    )
    assert done.facts["accelerator"] == "cuda"
    assert done.facts["attention"] in ("xformers", "sdpa")
    assert done.facts["losses"][-1] < done.facts["losses"][0]
