"""What is wrong with a model folder is said before an engine starts, with what, where and what to do."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import pocket
from harness.errors import InputError
from harness.evaluate import architectures, checkpoint, weights
from harness.store.files import files_digest

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return folder


@pytest.fixture
def model(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(model: Path, change: Callable[[dict[str, Any]], Any], name: str = WEIGHTS) -> None:
    """Change the tensors of a folder through safetensors' own writer."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / name, metadata={"format": "pt"})


def refused(model: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        checkpoint.open(model)
    return str(caught.value)


def test_a_whole_folder_opens_with_its_facts(model: Path) -> None:
    one = checkpoint.open(model)
    assert one.path == model.resolve()
    assert one.dtype == "float32"
    assert one.max_positions == 1024
    assert dict(one.shape)["hidden_size"] == "128"
    assert "dtype" not in dict(one.shape)


def test_the_digest_is_that_of_the_files_digest_of_the_store(model: Path) -> None:
    names = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    files = {name: model / name for name in names}
    files |= {path.name: path for path in model.glob("chat_template*")}
    assert checkpoint.open(model).digest == files_digest(files)


def test_the_digest_covers_what_can_change_an_answer_and_nothing_else(model: Path, tmp_path: Path) -> None:
    before = checkpoint.open(model).digest
    (model / "README.md").write_text("about")
    (model / "optimizer.pt").write_bytes(b"state")
    (model / "trainer_state.json").write_text("{}")
    assert checkpoint.open(model).digest == before
    moved = model.rename(tmp_path / "elsewhere")
    assert checkpoint.open(moved).digest == before
    seen = {before}
    edit(moved / "generation_config.json", eos_token_id=3)
    seen.add(checkpoint.open(moved).digest)
    edit(moved / "tokenizer_config.json", clean_up_tokenization_spaces=True)
    seen.add(checkpoint.open(moved).digest)
    (moved / "chat_template.jinja").write_text("{{ messages }}")
    seen.add(checkpoint.open(moved).digest)
    raw = bytearray((moved / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (moved / WEIGHTS).write_bytes(raw)
    seen.add(checkpoint.open(moved).digest)
    assert len(seen) == 5


def test_a_name_that_is_no_folder_is_refused(model: Path) -> None:
    assert "no model folder" in refused(model / "nothing" / "there" / "at all")
    assert "is a file" in refused(model / "config.json")


def test_a_hub_name_without_the_hub_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert "could not be fetched from the hub" in refused("some-org/some-model")


def test_a_hub_name_opens_what_the_hub_gives(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"]))
        return str(model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert checkpoint.open("some-org/some-model@v2").path == model
    assert asked == [("some-org/some-model", "v2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no config.json"), ("{", "is no JSON"), ("[]", "no JSON object"), ("{}", "no model_type")],
)
def test_a_config_that_is_none_is_refused(model: Path, text: str | None, words: str) -> None:
    (model / "config.json").unlink() if text is None else (model / "config.json").write_text(text)
    assert words in refused(model)


def test_a_folder_of_checkpoints_or_an_adapter_is_told_from_a_model(model: Path) -> None:
    assert "folder inside it: model" in refused(model.parent)
    (model / "config.json").rename(model / "adapter_config.json")
    assert "merge_and_unload" in refused(model)


def test_a_folder_without_tokenizer_is_refused(model: Path) -> None:
    for path in model.glob("token*"):
        path.unlink()
    assert "has no tokenizer" in refused(model)


def test_a_tokenizer_that_is_no_json_is_refused(model: Path) -> None:
    (model / "tokenizer.json").write_text("{cut")
    assert "tokenizer.json is no JSON" in refused(model)


def test_pickled_weights_are_not_loaded_and_the_way_out_is_named(model: Path) -> None:
    (model / WEIGHTS).rename(model / "pytorch_model.bin")
    message = refused(model)
    assert "pickled weights (pytorch_model.bin)" in message
    assert "safe_serialization=True" in message


def test_no_weights_at_all_are_refused(model: Path) -> None:
    (model / WEIGHTS).unlink()
    assert "has no *.safetensors" in refused(model)


def header(model: Path) -> tuple[dict[str, Any], bytes]:
    raw = (model / WEIGHTS).read_bytes()
    [length] = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(model: Path, entries: Any, data: bytes) -> None:
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", len(raw)) + raw + data)


@pytest.mark.parametrize("kept", [0, 4, 8, 500, -4, -100_000])
def test_a_file_that_was_cut_off_is_refused_wherever_the_cut_is(model: Path, kept: int) -> None:
    raw = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(raw[:kept])
    assert "is damaged or no safetensors file" in refused(model)


def test_a_file_with_bytes_after_its_end_is_refused(model: Path) -> None:
    with (model / WEIGHTS).open("ab") as file:
        file.write(b"more")
    assert "its tensors end at byte" in refused(model)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3]},
        {"data_offsets": [0, 7]},
        {"data_offsets": [8, 4]},
        {"data_offsets": [-4, 4]},
        {"data_offsets": "ab"},
        {"shape": [True]},
        {"dtype": "F64"},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(model: Path, change: dict[str, Any]) -> None:
    entries, data = header(model)
    entries["model.norm.weight"] |= change
    write(model, entries, data)
    assert "is damaged" in refused(model)


@pytest.mark.parametrize("raw", [b"[]", b"{}x", b'{"a": 1}', b'{"a": {}}', b"\xff\xfe", b"null"])
def test_a_header_that_is_none_is_refused(model: Path, raw: bytes) -> None:
    write(model, raw, b"")
    assert "is damaged" in refused(model)


def test_missing_extra_and_misshapen_tensors_are_named(model: Path, pristine: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(model, lambda tensors: tensors.pop(name))
    assert f"lacks 1 tensors that config.json asks for ({name} first)" in refused(model)
    shutil.copy(pristine / WEIGHTS, model)
    rewrite(model, lambda tensors: tensors.update({"score.weight": np.zeros((2, 2), np.float32)}))
    assert "knows nothing of (score.weight first)" in refused(model)
    shutil.copy(pristine / WEIGHTS, model)
    rewrite(model, lambda tensors: tensors.update({name: np.zeros((256, 64), np.float32)}))
    assert f"{name} is [256, 64] instead of [256, 128]" in refused(model)


def test_a_config_with_fewer_layers_than_the_weights_is_refused(model: Path) -> None:
    edit(model / "config.json", num_hidden_layers=3)
    assert "has 9 tensors that config.json knows nothing of" in refused(model)


def test_an_unknown_architecture_is_left_to_the_engine(model: Path) -> None:
    edit(model / "config.json", model_type="something-new")
    rewrite(model, lambda tensors: tensors.update({"score.weight": np.zeros((2, 2), np.float32)}))
    assert checkpoint.open(model).dtype == "float32"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_with_the_first_tensor_and_the_count(model: Path, value: float) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"][3, 5:8] = value
        tensors["model.norm.weight"][0] = value

    rewrite(model, spoil)
    message = refused(model)
    assert "NaN or infinite: 3 in model.layers.2.mlp.up_proj.weight, 4 in 2 tensors" in message


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_broken_numbers_are_counted_in_every_precision_and_across_blocks(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import save_file

    kind = getattr(torch, dtype)
    largest = torch.finfo(kind).max
    numbers = torch.full((1000,), largest, dtype=torch.float64)
    numbers[::2] *= -1
    values = numbers.to(kind).clone()
    numbers[[0, 511, 999]] = float("nan")
    spoiled = numbers.to(kind)
    save_file({"whole": values, "spoiled": spoiled, "ids": torch.full((9,), -1)}, tmp_path / WEIGHTS)
    for block in (1 << 20, 64):
        monkeypatch.setattr(weights, "_BLOCK", block)
        assert weights.scan(tmp_path / WEIGHTS).broken == {"spoiled": 3}


def shard(model: Path) -> None:
    """Split a folder's weights into two files and an index, as save_pretrained does for large models."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model / WEIGHTS)
    names = sorted(tensors)
    parts = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, model / file, metadata={"format": "pt"})
    (model / WEIGHTS).unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_in_several_files_open_and_each_missing_one_is_named(model: Path) -> None:
    shard(model)
    assert checkpoint.open(model).dtype == "float32"
    (model / "model-00002-of-00002.safetensors").unlink()
    assert "lacks 1 of the 2 weight files" in refused(model)
    assert "model-00002-of-00002.safetensors" in refused(model)


def test_an_index_that_does_not_fit_its_files_is_refused(model: Path) -> None:
    shard(model)
    index = model / "model.safetensors.index.json"
    wanted = json.loads(index.read_text())
    wanted["weight_map"]["model.extra"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(wanted))
    assert "lacks tensor model.extra" in refused(model)
    index.write_text("{}")
    assert "has no weight_map" in refused(model)
    index.unlink()
    assert "several *.safetensors and no model.safetensors.index.json" in refused(model)


def test_weights_beside_the_models_own_are_refused(model: Path) -> None:
    shutil.copy(model / WEIGHTS, model / "other.safetensors")
    assert "also holds other.safetensors" in refused(model)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Llama", {}),
        ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("Mistral", {}),
        ("Qwen2", {}),
        ("Qwen2", {"tie_word_embeddings": True}),
        ("Qwen3", {}),
        ("SmolLM3", {}),
        ("Gemma", {}),
        ("Gemma2", {}),
        ("Gemma3Text", {}),
        ("GPT2", {}),
    ],
)
def test_the_expected_tensors_of_an_architecture_are_those_that_transformers_saves(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    import transformers

    library: Any = transformers
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64, "pad_token_id": 0}
    if name == "GPT2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 64}
    config = getattr(library, f"{name}Config")(**sizes, **settings)
    models = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
    getattr(library, models.get(name, f"{name}ForCausalLM"))(config).save_pretrained(tmp_path)
    saved = {one.name: one.shape for one in weights.tensors(tmp_path / WEIGHTS)}
    wanted = architectures.expected(json.loads((tmp_path / "config.json").read_text()))
    assert wanted is not None
    assert saved == wanted.needed


def test_opening_a_checkpoint_loads_no_heavy_package(model: Path) -> None:
    code = (
        "import sys; from harness.evaluate import checkpoint; checkpoint.open(sys.argv[1]);"
        "print([name for name in ('torch', 'transformers', 'safetensors', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
