"""Tiny random models of families whose configs ask for more than BERT's, with tokenizers that fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import CLASSES, FILLER
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = sorted({word for words in (*CLASSES.values(), FILLER) for word in words} | {str(number) for number in range(100)})
SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64}
ENDS = {"bos_token_id": 1, "eos_token_id": 1}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 64} | ENDS),
    "qwen2": ("Qwen2", SMALL | ENDS | {"num_key_value_heads": 2}),
    "gpt-neo": ("GPTNeo", {"hidden_size": 16, "num_layers": 4, "num_heads": 2, "attention_types": [[["global", "local"], 2]]} | ENDS),
    "modernbert": ("ModernBert", SMALL | ENDS | {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 1}),
    "longformer": ("Longformer", SMALL | ENDS | {"pad_token_id": 0, "attention_window": [4, 4, 8, 8], "max_position_embeddings": 66}),
}


def make_tokenizer(end: str = "<|endoftext|>") -> Tokenizer:
    """Words that blanks separate; 0 is unknown, 1 the end of a text."""
    tokenizer = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(["<unk>", end, *WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", end])
    return tokenizer


def make_folder(folder: Path, family: str, **changed: Any) -> Path:
    """A model folder of text classification in three classes."""
    name, sizes = FAMILIES[family]
    torch.manual_seed(5)
    labels = sorted(CLASSES)
    config = getattr(transformers, f"{name}Config")(
        **{"vocab_size": len(WORDS) + 2, "id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
        | sizes
        | changed
    )
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
