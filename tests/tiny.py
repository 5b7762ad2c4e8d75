"""Tiny random transformers models with a tokenizer that fits them, for the tests of students."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordPiece

from edgedistill.students import Origin

# special tokens as klue/roberta-base has them: [PAD] is 1, which RoBERTa counts its positions from
PIECES = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *"abc", "##a", "##b", "##c", "bac", "cab", "abc", "aba", "caba", "##ca"]
TEXTS = ["aba cab", "cab aba cab"]
SMALLER = len(PIECES) - 4  # what TEXTS use is all there is room for
COMMON = {"vocab_size": len(PIECES), "max_position_embeddings": 20, "pad_token_id": 1, "num_labels": 3}
BERT_LIKE = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
FAMILIES: dict[str, tuple[Any, dict[str, int]]] = {
    "bert": (transformers.BertForSequenceClassification, BERT_LIKE),
    "roberta": (transformers.RobertaForSequenceClassification, BERT_LIKE),
    "electra": (transformers.ElectraForSequenceClassification, BERT_LIKE | {"embedding_size": 8}),
    "distilbert": (transformers.DistilBertForSequenceClassification, {"dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 24}),
}


def make_teacher(family: str, **changed: Any) -> Any:
    kind, config = FAMILIES[family]
    torch.manual_seed(11)
    return kind._from_config(kind.config_class(**COMMON | config | changed), attn_implementation="eager").eval()


def make_tokenizer(pieces: list[str] = PIECES) -> Tokenizer:
    ids = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[CLS]", "[PAD]", "[SEP]", "[UNK]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def origin(teacher: Any, tokenizer: Tokenizer | None = None, **changed: Any) -> Origin:
    options = {"texts": TEXTS, "labels": ["x", "y", "z"], "auto_class": "AutoModelForSequenceClassification"} | changed
    return Origin(teacher=teacher, tokenizer=tokenizer or make_tokenizer(), **options)


def logits(model: Any, tokenizer: Tokenizer, texts: list[str] = TEXTS) -> torch.Tensor:
    """The model's answer to padded texts."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
    encoded = tokenizer.encode_batch(texts)
    ids, mask = torch.tensor([one.ids for one in encoded]), torch.tensor([one.attention_mask for one in encoded])
    with torch.inference_mode():
        return model.eval()(input_ids=ids, attention_mask=mask).logits


# ── more families, and calibration inputs ────────────────────────────────────────────────────────────────────────────

MORE = {**FAMILIES, "mpnet": (transformers.MPNetForSequenceClassification, BERT_LIKE)}
VISION = BERT_LIKE | {"image_size": 8, "patch_size": 4, "num_labels": 3}
SEEN = ["aba cab", "cab aba cab", "abc caba", "b a c", "a", "bac bac abc a a", "c c b", "caba abc bac"]


def make_any(family: str, **changed: Any) -> Any:
    """A teacher of text or of images whose norms are not all alike, as trained ones are not."""
    torch.manual_seed(11)
    if family in MORE:
        kind, config = MORE[family]
        config = COMMON | config
    else:
        kind, config = {"vit": transformers.ViTForImageClassification, "deit": transformers.DeiTForImageClassification}[family], VISION
    model = kind._from_config(kind.config_class(**config | {"initializer_range": 0.3} | changed), attn_implementation="eager").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.add_(0.2 * torch.randn_like(module.weight))
                module.bias.add_(0.2 * torch.randn_like(module.bias))
    return model


def batches(tokenizer: Tokenizer | None) -> list[dict[str, torch.Tensor]]:
    """Two batches of padded texts, or of images."""
    if tokenizer is None:
        images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(5))
        return [{"pixel_values": images[:9]}, {"pixel_values": images[9:]}]
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
    found = []
    for texts in (SEEN[:5], SEEN[5:]):
        encoded = tokenizer.encode_batch(texts)
        ids, mask = torch.tensor([one.ids for one in encoded]), torch.tensor([one.attention_mask for one in encoded])
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


def origin_of(teacher: Any, tokenizer: Tokenizer | None = None) -> Origin:
    """An origin with calibration inputs, for texts or for images."""
    if hasattr(teacher.config, "image_size"):
        return Origin(teacher=teacher, tokenizer=None, texts=(), labels="xyz", auto_class="AutoModelForImageClassification", inputs=batches(None))
    tokenizer = tokenizer or make_tokenizer()
    return origin(teacher, tokenizer, inputs=batches(tokenizer))
