"""Width, pruning, factorised embeddings: hand-sized matrices, parts that do nothing, twins that say the same, and the limit of no change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from tiny import BERT_LIKE, COMMON, MORE, PIECES, TEXTS, logits, make_any, make_tokenizer, origin_of

from edgedistill import surgery
from edgedistill.spec import Student
from edgedistill.students import Origin, compose, layers
from edgedistill.students._activations import Moments, lift, representatives
from edgedistill.students._importance import importance
from edgedistill.students.embedding import factors
from edgedistill.surgery import FAMILIES


def answer(model: Any, origin: Origin) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model.eval()(**batch)[0] for batch in origin.inputs])


@pytest.fixture(params=[*MORE, "vit", "deit"])
def teacher(request: pytest.FixtureRequest) -> Any:
    return make_any(request.param)


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("depth", "of", "uniform"),
    [
        (6, 12, (0, 2, 4, 7, 9, 11)),  # DistilBERT's
        (3, 6, (0, 3, 5)),
        (4, 12, (0, 4, 7, 11)),
        (2, 12, (0, 11)),
        (1, 12, (0,)),
        (5, 5, (0, 1, 2, 3, 4)),
    ],
)
def test_maps_are_those_listed_by_hand(depth: int, of: int, uniform: tuple[int, ...]) -> None:
    assert layers.maps(depth, of) == {"bottom": tuple(range(depth)), "uniform": uniform, "last": tuple(range(of))[-depth:]}


@pytest.mark.parametrize(("name", "copied"), [("bottom", [0, 1]), ("uniform", [0, 3]), ("last", [2, 3])])
def test_map_chooses_the_layers_when_it_is_named(teacher: Any, name: str, copied: list[int]) -> None:
    made = compose(Student(layers=name, depth=2), origin_of(teacher), seed=0)
    assert made.facts["teacher_layers"] == copied
    for mine, number in zip(surgery.layers(made.model), copied, strict=True):
        theirs = surgery.layers(teacher)[number].state_dict()
        assert all(torch.equal(weight, theirs[key]) for key, weight in mine.state_dict().items())


# ── embedding ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("weights", "kept", "energy"), [((1.0, 1.0), 0, 9 / 10), ((1.0, 100.0), 1, 100 / 109)])
def test_rank_one_keeps_the_heavier_row_when_rows_are_orthogonal(weights: tuple[float, float], kept: int, energy: float) -> None:
    table = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    rows, columns, found = factors(table, torch.tensor(weights), 1)
    expected = torch.zeros(2, 2)
    expected[kept] = table[kept]
    torch.testing.assert_close(rows @ columns.T, expected)
    assert found == pytest.approx(energy)


@pytest.mark.parametrize("family", MORE)
def test_answer_is_the_teachers_when_the_rank_is_full(family: str) -> None:
    teacher = make_any(family)
    full = min(len(PIECES), teacher.get_input_embeddings().embedding_dim)
    made = compose(Student(method="embedding", embedding=full), origin_of(teacher), seed=0)
    torch.testing.assert_close(logits(made.model, made.tokenizer), logits(teacher, make_tokenizer()), rtol=0, atol=1e-5)
    assert made.facts["embedding"] == {"rank": full, "kept_energy": 1.0}


def test_answer_is_the_teachers_when_the_table_has_that_rank() -> None:
    teacher = make_any("bert")
    with torch.no_grad():
        table = teacher.get_input_embeddings().weight
        table.copy_(table[:, :5] @ torch.randn(5, table.shape[1], generator=torch.Generator().manual_seed(1)))
    made = compose(Student(method="embedding", embedding=5), origin_of(teacher), seed=0)
    torch.testing.assert_close(logits(made.model, made.tokenizer), logits(teacher, make_tokenizer()), rtol=0, atol=1e-4)
    less = compose(Student(method="embedding", embedding=3), origin_of(teacher), seed=0)
    assert not torch.allclose(logits(less.model, less.tokenizer), logits(teacher, make_tokenizer()), rtol=0, atol=1e-2)


def test_frequent_pieces_lose_less_when_the_rank_is_low() -> None:
    teacher = make_any("bert")
    old = teacher.get_input_embeddings().weight.detach()
    made = compose(Student(method="embedding", embedding=4), Origin(**_often(teacher)), seed=0)
    lost = (made.model.get_input_embeddings()(torch.arange(len(PIECES))) - old).norm(dim=1) / old.norm(dim=1).clamp_min(1e-6)  # the padding is 0
    frequent = [PIECES.index("cab"), PIECES.index("aba")]
    assert lost[frequent].max() < 0.1 < lost.mean()


def _often(teacher: Any) -> dict[str, Any]:
    return {"teacher": teacher, "tokenizer": make_tokenizer(), "texts": TEXTS * 1000, "labels": "xyz", "auto_class": "AutoModel"}


# ── what the kept channels say of the rest ───────────────────────────────────────────────────────────────────────────


def seen(states: torch.Tensor) -> Moments:
    return Moments(count=len(states), total=states.sum(0), products=states.T @ states)


def test_lift_finds_the_line_when_a_channel_is_one_of_the_others() -> None:
    free = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = torch.stack([free[:, 0], 2 * free[:, 0] - free[:, 1] + 3, free[:, 1]], 1)  # the middle one by hand
    mapped, offset = lift(seen(states), [0, 2])
    torch.testing.assert_close(mapped, torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0]], dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(offset, torch.tensor([0.0, 3.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-3)


def test_representatives_skip_twins_when_there_is_something_new() -> None:
    parts = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0])
    states = parts[:, [0, 0, 1, 1, 2]]  # two pairs of twins, one alone
    chosen, explained = representatives(seen(states).covariance, 3)
    assert [{0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}[channel] for channel in chosen] == ["a", "b", "c"]
    assert explained == pytest.approx(1.0)
    assert len(representatives(seen(states).covariance, 5)[0]) == 5


# ── prune ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mute(model: Any, heads: int, units: slice) -> None:
    """Take a head and some hidden units of every layer out of the sum that they go into."""
    family = FAMILIES[model.config.model_type]
    size = surgery.heads(model.config)[1]
    with torch.no_grad():
        for layer in surgery.layers(model):
            layer.get_submodule(family.out).weight[:, heads * size : (heads + 1) * size] = 0
            layer.get_submodule(family.down).weight[:, units] = 0


def test_answer_is_the_teachers_when_only_what_gives_nothing_goes(teacher: Any) -> None:
    mute(teacher, 0, slice(3, 17))
    origin = origin_of(teacher)
    heads, units = importance(teacher, origin.inputs, seed=0)
    assert heads[:, 0].max() == units[:, 3:17].max() == 0 < min(heads[:, 1].min(), units[:, 17:].min())
    made = compose(Student(method="prune", heads=1, intermediate=10), origin, seed=0)
    torch.testing.assert_close(answer(made.model, origin), answer(teacher, origin), rtol=0, atol=1e-5)
    assert made.facts["pruned"] == {"heads": [2, 1], "intermediate": [24, 10], "kept_head_importance": 1.0, "kept_unit_importance": 1.0}


def test_importance_orders_units_as_taking_each_out_does() -> None:
    teacher = make_any("bert")
    origin = origin_of(teacher)
    _, scores = importance(teacher, origin.inputs * 20, seed=0)
    down = surgery.layers(teacher)[1].get_submodule("output.dense")
    before = answer(teacher, origin).log_softmax(-1)
    lost = []
    for unit in range(24):
        column = down.weight.detach()[:, unit].clone()
        with torch.no_grad():
            down.weight[:, unit] = 0
            lost.append(float((before.exp() * (before - answer(teacher, origin).log_softmax(-1))).sum()))
            down.weight[:, unit] = column
    ranks = [torch.tensor(list(values)).argsort().argsort().double() for values in (lost, scores[1].tolist())]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9  # of 24 units, against the divergence itself


# ── width ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_answer_is_the_teachers_when_the_width_is_full(teacher: Any) -> None:
    origin = origin_of(teacher)
    made = compose(Student(method="width", width=16), origin, seed=0)
    torch.testing.assert_close(answer(made.model, origin), answer(teacher, origin), rtol=0, atol=1e-4)


def doubled(narrow: Any) -> Any:
    """A BERT that is twice as wide and says the same: every channel has a twin, and as many heads again give nothing."""
    sizes = BERT_LIKE | {"hidden_size": 32, "num_attention_heads": 4}
    wide = transformers.BertForSequenceClassification._from_config(transformers.BertConfig(**COMMON | sizes), attn_implementation="eager").eval()
    new = {}
    for name, old in narrow.state_dict().items():
        parent = name.rpartition(".")[0]
        if parent.endswith(("query", "key", "value")):
            new[name] = torch.cat([torch.cat([old, old], 1) / 2 if old.ndim == 2 else old, torch.randn(16, *[32] * (old.ndim - 1))])
        elif parent.endswith("attention.output.dense"):
            new[name] = torch.cat([torch.cat([old, torch.zeros(16, 16)], 1)] * 2) if old.ndim == 2 else torch.cat([old, old])
        elif parent.endswith(("intermediate.dense", "classifier")):
            new[name] = torch.cat([old, old], 1) / 2 if old.ndim == 2 else old
        elif parent.endswith("pooler.dense"):
            new[name] = torch.cat([torch.cat([old, old], 1) / 2] * 2) if old.ndim == 2 else torch.cat([old, old])
        else:  # tables by columns, writers by rows, norms
            new[name] = torch.cat([old, old], 1 if "embeddings" in name and old.ndim == 2 else 0)
    wide.load_state_dict(new)
    return wide


def test_answer_is_the_teachers_when_its_stream_is_half_as_wide_by_construction() -> None:
    narrow = make_any("bert")
    wide = doubled(narrow)
    origin = origin_of(wide)
    torch.testing.assert_close(answer(wide, origin), answer(narrow, origin), rtol=0, atol=1e-5)
    made = compose(Student(method="width", width=16), origin, seed=0)
    assert made.model.config.num_attention_heads == 2
    assert made.facts["shrunk"]["kept_variance"] > 0.999
    torch.testing.assert_close(answer(made.model, origin), answer(wide, origin), rtol=0, atol=1e-2)


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_narrow_student_knows_more_than_a_random_one_of_its_sizes(family: str) -> None:
    teacher = make_any(family)
    origin = origin_of(teacher)
    made = compose(Student(method="width", width=12, heads=2, intermediate=24), origin, seed=0).model
    error = (answer(made, origin) - answer(teacher, origin)).square().mean()
    config = {"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 24}
    for seed in range(3):
        random = compose(Student(method="config", config=config), origin, seed=seed).model
        assert error < 0.5 * (answer(random, origin) - answer(teacher, origin)).square().mean()
        assert unexplained(made, teacher, origin) < unexplained(random, teacher, origin)


def unexplained(student: Any, teacher: Any, origin: Origin) -> float:
    """The share of the teacher's last hidden states that 12 + 1 numbers per token of the student do not say, by least squares."""
    mine, theirs = [], []
    for batch in origin.inputs:
        mask = batch.get("attention_mask")
        for model, into in ((student, mine), (teacher, theirs)):
            with torch.inference_mode():
                states = model.eval()(**batch, output_hidden_states=True).hidden_states[-1]
            into.append(states[mask.bool()] if mask is not None else states.flatten(0, 1))
    x, y = torch.cat(mine).double(), torch.cat(theirs).double()
    x, y = torch.cat([x, torch.ones(len(x), 1)], 1), y - y.mean(0)
    return float((y - x @ torch.linalg.lstsq(x, y).solution).square().sum() / y.square().sum())
