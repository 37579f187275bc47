"""Load and save models: presets, folders, LoRA, safetensors, and the hash of weights."""

import copy
import hashlib
import json
import mmap
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kto_core.base.config import TinyConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.store import digest, read_json
from kto_core.data.datasets import Rows
from kto_core.models.smollm2 import load_smollm2
from kto_core.models.tiny import make_tiny

if TYPE_CHECKING:
    from peft import PeftModel

PRESETS = ("tiny", "smollm2")
VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja")
# Keys of config.json without effect on answers, since every model is loaded in float32.
COSMETIC: Final = ("transformers_version", "dtype", "torch_dtype", "_name_or_path", "architectures")
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load(folder: Path) -> Loaded:
    """Load a causal model in float32, and its tokenizer, from a folder; no download, no pickle.

    Raises:
        TrainingError: if transformers cannot load the folder as a causal language model with safetensors weights.

    """
    _require_folder(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise TrainingError(f"{folder} cannot be loaded as a causal language model: {first}") from error
    return model, tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load only a folder's tokenizer.

    Raises:
        TrainingError: if there is none.

    """
    _require_folder(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder} holds no tokenizer that transformers can load: {error}") from error
    return tokenizer


def load_or_make(model: str, *, rows: Rows | None, tiny: TinyConfig, seed: int) -> Loaded:
    """Load a preset (`tiny`, made from `rows`; `smollm2`) or a folder.

    Raises:
        TrainingError: if `model` is neither, or `tiny` has no rows to learn its vocabulary from.

    """
    if model == "tiny":
        if rows is None:
            raise TrainingError(
                "the preset 'tiny' learns its vocabulary from the SFT rows; give rows, or another model"
            )
        return make_tiny(rows, tiny, seed=seed)
    if model == "smollm2":
        return load_smollm2()
    return load(Path(model))


def save(model: "PreTrainedModel | PeftModel", tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write plain safetensors, config and tokenizer; LoRA adapters are merged into the weights first."""
    if not isinstance(model, PreTrainedModel):
        model = model.merge_and_unload()
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)


def with_lora(model: PreTrainedModel, *, rank: int, alpha: int) -> "PeftModel":
    """Add LoRA adapters (Hu et al. 2021, arXiv 2106.09685) of `rank` to every linear layer but the head."""
    from peft import LoraConfig, get_peft_model  # not loaded by trainings without adapters

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # peft 0.21 uses a name that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        return get_peft_model(model, config)


def adapted(model: PreTrainedModel, *, rank: int, alpha: int) -> Any:  # noqa: ANN401 - the model, or peft's wrapper
    """Return the model with adapters of `rank`, or the model itself if `rank` is 0."""
    return with_lora(model, rank=rank, alpha=alpha) if rank else model


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Turn off dropout in a model before training, in place, and return it.

    A policy is compared with a reference without dropout, so changes by dropout would count as a reward. The model's
    own config keeps its probabilities, so that it is saved unchanged. Call this before adapters are added.
    """
    copies: dict[int, Any] = {}
    module: Any  # torch types unknown attributes of a module as tensors
    for module in model.modules():
        if module is not model and isinstance(getattr(module, "config", None), PreTrainedConfig):
            module.config = copy.deepcopy(module.config, copies)  # modules that shared a config share its copy
            _silence(module.config)
        _silence(module)
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def _silence(owner: object) -> None:
    """Set all dropout probabilities among an object's attributes to 0, found by their names."""
    for name, value in vars(owner).items():
        if isinstance(value, float) and ("dropout" in name or "pdrop" in name):
            setattr(owner, name, 0.0)


def gathered(network: torch.nn.Module, twin: Callable[[], Any], accelerator: Accelerator) -> Any:  # noqa: ANN401
    """Return the model that `network` wraps, complete in the main process; every process must call it.

    Args:
        network: accelerate's wrapper of a module with the model as its attribute `model`.
        twin: builds a model of the same kind, which receives the weights where FSDP keeps them in shards.
        accelerator: accelerator of the run.
    """
    if accelerator.distributed_type is not DistributedType.FSDP:
        return accelerator.unwrap_model(network).model
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict  # a second to import

    weights = get_model_state_dict(network, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not accelerator.is_main_process:
        return None
    model = twin()
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in weights.items()})
    return model


def check_context(model: PreTrainedModel, *, prompt: int, completion: int) -> None:
    """Raise TrainingError if prompts and completions of these many tokens do not fit the model's positions."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and prompt + completion > most:
        raise TrainingError(
            f"max_prompt_tokens + max_completion_tokens = {prompt + completion} exceed the model's "
            f"{most} positions; lower them"
        )


def parameter_count(model: torch.nn.Module) -> int:
    """Count the weights, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 in hex of everything that log-probabilities of tokens depend on; needs no torch.

    It covers every tensor's name, dtype, shape and bytes, in order of names, and the settings of config.json that
    change results (`rope_theta`, `rms_norm_eps`): the same tensors give other answers under another config.

    Raises:
        TrainingError: if the folder holds no complete safetensors or no readable config.json.

    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise TrainingError(f"{folder} holds no *.safetensors weights")
    tensors = sorted((tensor for file in files for tensor in _tensors(file)), key=lambda tensor: tensor[0])
    hasher = hashlib.sha256(digest(_computing(read_json(folder / "config.json"))).encode())
    for name, kind, shape, file, begin, end in tensors:
        hasher.update(f"{name}\0{kind}\0{shape}\0".encode())
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            for start in range(begin, end, 1 << 24):
                hasher.update(view[start : min(end, start + (1 << 24))])
    return hasher.hexdigest()


def model_hash(folder: Path) -> str:
    """Return the SHA-256 in hex of everything that a model's answers to texts depend on.

    It covers the content of `weights_hash`, and the vocabulary, template and special tokens.

    Raises:
        TrainingError: if the folder is missing, or holds no complete safetensors or no readable config.json or
            tokenizer_config.json.
    """
    _require_folder(folder)
    hasher = hashlib.sha256(weights_hash(folder).encode())
    for name in VOCABULARY_FILES:
        if (folder / name).is_file():
            hasher.update(name.encode() + (folder / name).read_bytes())
    # The rest of this file changes with the library that wrote it.
    tokenizer_config = read_json(folder / "tokenizer_config.json")
    hasher.update(
        digest({key: tokenizer_config.get(key) for key in ("bos_token", "eos_token", "chat_template")}).encode()
    )
    return hasher.hexdigest()


def _computing(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a config, and the configs inside it, without cosmetic keys."""
    if not isinstance(value, dict):
        return value
    return {name: _computing(inner) for name, inner in value.items() if name not in COSMETIC}


def _tensors(file: Path) -> Iterator[tuple[str, str, list[int], Path, int, int]]:
    """Yield (name, dtype, shape, file, first byte, last byte) from a safetensors header (u64 length, then JSON).

    Raises:
        TrainingError: if the file ends before its header or its last tensor does.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(length))
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        missing = 8 + length + max((entry["data_offsets"][1] for _, entry in entries), default=0) - file.stat().st_size
    except (struct.error, ValueError, OverflowError, MemoryError) as error:
        raise TrainingError(f"{file} is not a complete safetensors file; copy or create the model again") from error
    if missing > 0:
        raise TrainingError(f"{file} lacks its last {missing} bytes; copy or create the model again")
    for name, entry in entries:
        begin, end = entry["data_offsets"]
        yield name, entry["dtype"], entry["shape"], file, 8 + length + begin, 8 + length + end


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TrainingError(f"model {str(folder)!r} is neither a preset ({', '.join(PRESETS)}) nor a folder")
