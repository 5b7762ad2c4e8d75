"""Shapes that transformers' own classes cannot express: fewer heads of unchanged size, a word embedding of low rank.

`config.edgedistill` says what differs, in JSON, and transformers keeps it in config.json: `heads` (each of `head_size`, so that together
they may be narrower than the model) and `embedding_rank`. The rest of the config stays what transformers can build. `apply` puts the
modules in place on a model that was just made from its config; `construct` and `load` do both. Where nothing differs, they are
transformers' own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.errors import ConfigError

KEY = "edgedistill"
DTYPES = ("bfloat16", "float16", "float32")
NOT_BY_LAYER = ("architectures", "eos_token_id", "stage_names", "out_features", "out_indices")  # lists that may happen to be as long
SHOWN = 4  # tensors that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Where a model family keeps its sizes in the config, and its parts in a layer."""

    layers: str = "encoder.layer"
    attention: str = "attention.self"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    depth: str = "num_hidden_layers"
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    intermediate: str = "intermediate_size"

    @property
    def inside(self) -> re.Pattern[str]:
        """Splits the name of a weight in a layer: before its number, the number, after it."""
        return re.compile(rf"((?:.*\.)?{re.escape(self.layers)}\.)(\d+)(\..*)")


_BERT = Family()
_VISION = Family(
    layers="layers",
    attention="attention",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.o_proj",
    up="mlp.fc1",
    down="mlp.fc2",
)
FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "mpnet": Family(attention="attention.attn", query="attention.attn.q", key="attention.attn.k", value="attention.attn.v", out="attention.attn.o"),
    "distilbert": Family(
        layers="transformer.layer",
        attention="attention",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        depth="n_layers",
        width="dim",
        heads="n_heads",
        intermediate="hidden_dim",
    ),
    "vit": _VISION,
    "deit": _VISION,
}
BIASES = "relative_attention_bias"  # MPNet's: one column per head, shared by all layers


def plan(config: Any) -> dict[str, int]:
    """What differs from transformers' shapes; empty where nothing does."""
    return dict(getattr(config, KEY, None) or {})


def change(config: Any, **sizes: int | None) -> None:
    """Write sizes into the plan of a config; None takes one out."""
    left = {name: size for name, size in (plan(config) | sizes).items() if size is not None}
    setattr(config, KEY, left)
    if not left:
        delattr(config, KEY)


def heads(config: Any) -> tuple[int, int]:
    """How many heads a layer has, and the size of each."""
    family = FAMILIES[config.model_type]
    count = getattr(config, family.heads)
    found = plan(config)
    return found.get("heads", count), found.get("head_size", getattr(config, family.width) // count)


def depth_key(config: Any) -> str:
    """What a family's config calls its number of layers."""
    return str(getattr(config, "attribute_map", {}).get("num_hidden_layers", "num_hidden_layers"))


def keep_layers(config: Any, kept: Sequence[int]) -> None:
    """Write the number of layers that stay into a config, and leave the entries of those layers in each list that has one for every layer."""
    name = depth_key(config)
    depth = getattr(config, name)
    for key, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == depth and key not in NOT_BY_LAYER and max(kept, default=0) < depth:
            setattr(config, key, [value[layer] for layer in kept])
    setattr(config, name, len(kept))


def layers(model: Any) -> list[Any]:
    """The modules of the layers, from the bottom up."""
    family = FAMILIES[model.config.model_type]
    found = [module for name, module in model.named_modules() if name == family.layers or name.endswith(f".{family.layers}")]
    return list(found[0])


def apply(model: Any) -> None:
    """Put the modules of the config's plan into a model that was just made; its weights are still to be loaded."""
    sizes = plan(model.config)
    if "heads" in sizes:
        _narrow_attention(model, sizes["heads"], sizes["head_size"])
    if "embedding_rank" in sizes:
        _low_rank(model, sizes["embedding_rank"])


def _narrow_attention(model: Any, count: int, size: int) -> None:
    from torch import nn

    family = FAMILIES[model.config.model_type]
    for layer in layers(model):
        for path in (family.query, family.key, family.value):
            old = layer.get_submodule(path)
            layer.set_submodule(path, nn.Linear(old.in_features, count * size, bias=old.bias is not None, dtype=old.weight.dtype))
        old = layer.get_submodule(family.out)
        layer.set_submodule(family.out, nn.Linear(count * size, old.out_features, bias=old.bias is not None, dtype=old.weight.dtype))
        _tell(layer.get_submodule(family.attention), count, size)
    for module in model.modules():
        if hasattr(module, BIASES):
            old = getattr(module, BIASES)
            setattr(module, BIASES, nn.Embedding(old.num_embeddings, count, dtype=old.weight.dtype))
            module.n_heads = count


def _tell(attention: Any, count: int, size: int) -> None:
    """The numbers that the forward passes read, under each family's names."""
    told = {
        "num_attention_heads": count,
        "n_heads": count,
        "attention_head_size": size,
        "head_dim": size,
        "all_head_size": count * size,
        "scaling": size**-0.5,
    }
    for name, value in told.items():
        if hasattr(attention, name):
            setattr(attention, name, value)


def _low_rank(model: Any, rank: int) -> None:
    from torch import nn

    for name, module in list(model.named_modules()):
        if name.endswith("word_embeddings"):
            rows, columns, kind = module.num_embeddings, module.embedding_dim, module.weight.dtype
            table = nn.Embedding(rows, rank, padding_idx=module.padding_idx, dtype=kind)
            model.set_submodule(name, nn.Sequential(table, nn.Linear(rank, columns, bias=False, dtype=kind)))


def construct(model_class: Any, config: Any) -> Any:
    """A model with random weights in eager attention, its plan applied."""
    model = model_class._from_config(config, attn_implementation="eager")
    apply(model)
    return model


def load(auto: Any, folder: Path, *, dtype: str = "float32", **options: Any) -> Any:
    """`auto.from_pretrained(folder, **options)`, by whatever `options` ask for, into the shapes of the folder's plan.

    The one place where a model's weights come in: in `dtype`, whatever type they lie in the file, and finite.
    Raises ConfigError with the names of those that hold NaN or Inf.
    """
    loaded = _read(auto, folder, **options, dtype=dtype)
    strange = _not_finite(loaded[0] if isinstance(loaded, tuple) else loaded)
    if strange:
        shown = [*strange[:SHOWN], *([f"{len(strange) - SHOWN} more"] if len(strange) > SHOWN else [])]
        what = f"{folder} has weights that are no finite numbers: {', '.join(shown)}"
        raise ConfigError(what, hint="save it from a training that did not diverge, in float32 or bfloat16: float16 ends at 65,504")
    return loaded


def _not_finite(model: Any) -> list[str]:
    """Each weight that holds NaN or Inf, with how many of its values do."""
    found = ((name, weight) for name, weight in model.state_dict().items() if weight.is_floating_point())
    bad = ((name, int((~weight.isfinite()).sum()), weight.numel()) for name, weight in found)
    return [f"{name} (NaN or Inf in {count} of {size})" for name, count, size in bad if count]


def _read(auto: Any, folder: Path, **options: Any) -> Any:
    """A class of the same name whose constructor applies the plan lets transformers do the loading: its checks, renamings and ties hold."""
    import torch
    from transformers import AutoConfig

    if not plan(AutoConfig.from_pretrained(folder)):
        return auto.from_pretrained(folder, **options)
    with torch.device("meta"):
        plain = type(auto.from_config(AutoConfig.from_pretrained(folder))) if hasattr(auto, "from_config") else auto

    def prepare(self: Any, config: Any, *arguments: Any, **named: Any) -> None:
        plain.__init__(self, config, *arguments, **named)
        apply(self)

    # __module__ and __name__ as the original's: save_pretrained writes the name, and renamings are looked up by it
    cut = type(plain.__name__, (plain,), {"__init__": prepare, "__module__": plain.__module__})
    loaded = cut.from_pretrained(folder, **options)  # type: ignore[attr-defined]
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    model.__class__ = plain
    return loaded
