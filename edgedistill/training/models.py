"""Models and tokenizers from folders: safetensors only, and a clear word when a folder is not what it should be."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgedistill import ragged, runtime, surgery
from edgedistill.checking import read_json
from edgedistill.errors import ConfigError, Fault
from edgedistill.training import _tokenizer

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "model.pt", "model.pth")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
EAGER = 128  # tokens; measured in benchmarks/LOG.md
DECIDES_AT_THE_END = "AutoModelForSequenceClassification"
PROCESSOR = "preprocessor_config.json"  # what a model of images has instead of a tokenizer


def folder_faults(where: str, folder: Path) -> list[Fault]:
    """What is wrong with a model folder, without loading it: no config, no weights, or weights as pickles."""
    if not folder.is_dir():
        return [Fault(where, f"{folder} is not a folder", "a transformers model folder holds config.json, model.safetensors and tokenizer.json")]
    names = {file.name for file in folder.iterdir()}
    if "config.json" not in names:
        return [Fault(where, f"{folder} is not a model: it has no config.json", "save_pretrained writes the whole folder")]
    if any(name.endswith(".safetensors") for name in names):
        if names & {*TOKENIZERS, PROCESSOR}:
            return []
        what = f"{folder} has no tokenizer ({', '.join(TOKENIZERS)}) and no {PROCESSOR}"
        return [Fault(where, what, "save the model's tokenizer, or its image processor, into the same folder")]
    pickles = sorted(names & set(PICKLES))
    if pickles:
        what = f"{folder} has its weights only as a pickle ({pickles[0]}), and unpickling runs whatever code the file holds"
        return [
            Fault(where, what, "convert once where you trust it: AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)")
        ]
    return [Fault(where, f"{folder} has no weights (model.safetensors)", "save_pretrained writes the whole folder")]


def read_config(folder: Path) -> Mapping[str, Any]:
    """The model's config.json. Raises ConfigError when it is not JSON."""
    try:
        config: Mapping[str, Any] = read_json((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{folder / 'config.json'} is not a JSON object")
    return config


def full_config(folder: Path) -> Mapping[str, Any]:
    """The config with its family's defaults: a config.json leaves out what equals them. Raises ConfigError when transformers does not know it."""
    from transformers import AutoConfig

    read_config(folder)
    try:
        config: dict[str, Any] = AutoConfig.from_pretrained(folder).to_dict()
    except Exception as error:  # transformers raises ValueError, KeyError, OSError and its validators' own
        raise ConfigError(f"{folder / 'config.json'} is not a config that transformers can use: {error}") from error
    return config


def length_faults(config: Mapping[str, Any], max_length: int, whose: str = "the teacher") -> list[Fault]:
    """A text may not be longer than the model has positions; RoBERTa's kind keeps the first of them for padding."""
    positions = config.get("max_position_embeddings", config.get("n_positions", max_length))
    room = positions - (2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer") else 0)
    return [Fault("data.max_length", f"{max_length} tokens, but {whose} has positions for {room}")] if max_length > room else []


def text_faults(task: Any, folder: Path, max_length: int, whose: str = "the teacher") -> list[Fault]:
    """What the files beside a tokenizer say against texts of this length, as plain JSON; nothing where the task reads none."""
    return _tokenizer.faults(folder, max_length, whose) if "tokenizer.json" in task.FILES else []


def padding_faults(where: str, auto_class: str, folder: Path) -> list[Fault]:
    """A decoder's answer stands at a text's last token, which it finds by the padding behind it: without a padding token it takes no batch."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = full_config(folder) if auto_class == DECIDES_AT_THE_END else {}
    by_mask = config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if by_mask or "vocab_size" not in config or config.get("pad_token_id") is not None:
        return []
    if _tokenizer.padding(folder, load_tokenizer(folder), config) is not None:
        return []
    what = f"{folder} has no padding token, and no end of text to take its place"
    return [Fault(where, what, f'add "pad_token_id" with the id of a token that no text holds to {folder / "config.json"}')]


def give_padding(model: Any, folder: Path, tokenizer: Any = None) -> None:
    """Write the tokenizer's padding, or its end of text, into the config of a model of texts that names none; the folder's if none is given."""
    if getattr(model.config, "vocab_size", None) and getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = _tokenizer.padding(folder, tokenizer or load_tokenizer(folder), model.config.to_dict())


def pad_id(model: Any) -> int:
    """What a model's batches are filled up with; where it names nothing, 0: these positions are masked."""
    return int(getattr(model.config, "pad_token_id", 0) or 0)


def resolve(place: str) -> Path:
    """The folder of a model; `hub:OWNER/NAME[@REVISION]` is downloaded (safetensors, JSON and text files only)."""
    if not place.startswith("hub:"):
        return Path(place)
    from huggingface_hub import snapshot_download

    name, _, revision = place.removeprefix("hub:").partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"]))
    except Exception as error:  # huggingface_hub raises requests', its own and OS errors
        raise ConfigError(f"{place} cannot be had from the hub: {error}", hint="give a local folder, or set HF_HOME to a filled cache") from error


def quieten() -> None:
    """Errors alone from transformers, and from torchao, which it imports where it is installed and which warns of what is not on this machine."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_model(auto_class: str, folder: Path, *, fresh_head: bool = False, **options: Any) -> Any:
    """A transformers model by the name of its auto class, in eager attention, the only form whose export fuses.

    Shapes that transformers does not know come from the folder's config (`surgery`); weights are float32 unless `options` name another `dtype`.

    Raises ConfigError when the folder does not hold such a model; weights may be missing only where a `fresh_head` is to be trained.
    """
    import transformers

    faults = folder_faults("", folder) or padding_faults("", auto_class, folder)
    if faults:
        raise ConfigError(faults)
    quieten()
    try:
        auto = getattr(transformers, auto_class)
        model, loading = surgery.load(auto, folder, attn_implementation="eager", use_safetensors=True, output_loading_info=True, **options)
    except ConfigError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and safetensors' own error here
        raise ConfigError(f"{folder} cannot be loaded as {auto_class}: {error}") from error
    missing = sorted(loading["missing_keys"])
    if missing and not fresh_head:
        what = f"{folder} has no weights for {', '.join(missing[:4])}: it is a backbone that does not know the task"
        raise ConfigError(what, hint="add [teach] to fine-tune it on the data's classes")
    give_padding(model, folder)
    return model


def attend(model: Any, longest: int) -> None:
    """Choose how a model attends in training and labelling, in place: fused (SDPA) beyond `EAGER` tokens, where its family has that.

    Fused attention never holds the [s, s] scores of a head, so memory stays flat; up to there eager attention is faster on a CPU.
    Nothing that we train with reads attention maps; the exporter loads its model in eager attention anew.
    """
    if longest > EAGER and getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation("sdpa")


def load_tokenizer(folder: Path) -> Any:
    """The `tokenizers.Tokenizer` of a model folder, as transformers would read it; it fills up and cuts nothing, but knows the side to cut.

    Raises ConfigError when there is none, or settings beside it that cannot be kept.
    """
    tokenizer = _tokenizer.load(folder)
    tokenizer.no_padding()  # what is filled up is masked, and a decoder's last token is sought before it: `padding_side` changes no answer
    runtime.leave_whole(tokenizer, _tokenizer.side(folder, tokenizer))
    return tokenizer


def accepted(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a model takes: token types only where it was made with more than one."""
    types = getattr(model.config, "type_vocab_size", 1) or 1
    return {name: value for name, value in inputs.items() if name != "token_type_ids" or types > 1}


def answers(task: Any, model: Any, rows: Sequence[Any], pad_id: int, batch_size: int) -> list[NDArray[Any]]:
    """What torch answers to every row, an array [answers, classes] each, in padded batches."""
    import torch

    found: list[NDArray[Any]] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        inputs = {name: torch.from_numpy(value) for name, value in task.feeds(batch, pad_id).items()}
        with torch.inference_mode():
            found += ragged.cut(task, task.forward(model, accepted(model, inputs)).numpy(), batch)
    return found


def pieces(tokenizer: Any, rows: int) -> list[str]:
    """The piece behind each row of an embedding table; rows beyond the vocabulary have none."""
    return [tokenizer.id_to_token(index) or "" for index in range(rows)]


def name_labels(model: Any, labels: Sequence[str]) -> None:
    """Write the class names into a model's config."""
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}


def load_encoder(task: Any, folder: Path) -> Any:
    """What turns a task's examples into a model's inputs: the tokenizer of a text model, the processor of an image model."""
    return load_tokenizer(folder) if "tokenizer.json" in task.FILES else task.load(folder)


def save(model: Any, encoder: Any, folder: Path, *, files: Sequence[Path] = ()) -> None:
    """A model folder: config.json, model.safetensors, and the tokenizer, or the `files` that an image model's processor is in."""
    model.config.output_hidden_states = False
    model.save_pretrained(folder, safe_serialization=True)
    if hasattr(encoder, "save"):
        encoder.save(str(folder / "tokenizer.json"))
    for file in files:
        shutil.copyfile(file, folder / file.name)


def encoder_files(task: Any, folder: Path) -> list[Path]:
    """The files of an encoder that is not rewritten."""
    return [folder / name for name in task.FILES if name != "tokenizer.json"]


def set_dropout(model: Any, dropout: float) -> None:
    """One dropout probability for the whole model, its config included; attention keeps none: drawing it costs a fifth of the time on a CPU."""
    from torch import nn

    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0 if "attention.self" in name else dropout
    for key in ("hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout"):
        if getattr(model.config, key, None) is not None:
            setattr(model.config, key, dropout)
