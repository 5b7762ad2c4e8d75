"""Batches of many tokens go through the model in parts: the same gradient, little memory; fused attention gives the answers of the eager kind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from accelerate.state import AcceleratorState  # noqa: E402  (after the skip)
from torch import Tensor, nn  # noqa: E402  (after the skip)

from edgedistill.progress import Progress, silent  # noqa: E402
from edgedistill.spec import Loss, Schedule  # noqa: E402
from edgedistill.stages._terms import Terms, are_whole  # noqa: E402
from edgedistill.training import loop  # noqa: E402
from edgedistill.training.models import EAGER, attend  # noqa: E402


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training in fp32, whatever precision other tests of this process have set Accelerate to."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(loop, "has_bf16", lambda: False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(4, 2)
        self.config = SimpleNamespace(type_vocab_size=1)

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=self.layer(x))


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int, *, whole: bool = False) -> tuple[Tensor, list[int]]:
    """The weights after five steps of SGD-like training on batches of six rows of two tokens, and the sizes of what went through at once."""
    monkeypatch.setattr(loop, "MOST_TOKENS", most)
    terms = Terms(losses={"kl": Loss(weight=0.9, temperature=2.0), "ce": Loss(weight=0.1)})
    task = SimpleNamespace(forward=lambda model, inputs: model(**inputs).logits, pick=lambda raw, picks: raw)
    rows = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    sizes: list[int] = []

    def collate(indices: list[int]) -> Mapping[str, Tensor]:
        sizes.append(len(indices))
        some = rows[indices]
        return {"input x": some, "labels": (some[:, 0] > 0).long(), "teacher": torch.stack([some[:, 1], some[:, 2]], dim=1)}

    plan = loop.Plan(
        lengths=[2] * 30,
        frequency=[1.0] * 30,
        collate=collate,
        loss=lambda model, extras, batch, share: terms(task, model, extras, batch, share),
        score=lambda model: 0.0,
        higher=True,
        schedule=Schedule(epochs=1, batch_size=6, evaluations=1, learning_rate=0.1, weight_decay=0.0),
        seed=0,
        extras=terms.extras,
        whole=whole,
    )
    model = Linear()
    loop.train(model, plan, folder, Progress(silent, "distil"))
    return model.layer.weight.detach().clone(), sizes


@pytest.mark.usefixtures("fp32")
def test_parts_give_the_gradient_of_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, sizes = trained(tmp_path / "whole", monkeypatch, 100)
    assert sizes == [6] * 5
    in_parts, sizes = trained(tmp_path / "parts", monkeypatch, 8)
    assert sizes == [4, 2] * 5
    torch.testing.assert_close(in_parts, at_once, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("fp32")
def test_batch_stays_whole_when_a_loss_relates_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, sizes = trained(tmp_path, monkeypatch, 8, whole=True)
    assert sizes == [6] * 5
    assert [name for name in ("similarity", "rkd", "crd", "kl", "ce", "hidden-mse", "embedding-cosine") if are_whole({name: Loss()})] == [
        "similarity",
        "rkd",
        "crd",
    ]


def test_fused_attention_answers_as_eager_does_beyond_its_length() -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=EAGER + 8
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    ids, mask = torch.randint(5, 50, (3, EAGER + 1)), torch.ones(3, EAGER + 1, dtype=torch.long)
    mask[1, 40:] = 0
    with torch.inference_mode():
        attend(model, EAGER)
        assert model.config._attn_implementation == "eager"
        eager = model(input_ids=ids, attention_mask=mask).logits
        attend(model, EAGER + 1)
        assert model.config._attn_implementation == "sdpa"
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, eager, rtol=0, atol=1e-5)


def test_family_without_fused_attention_keeps_its_own() -> None:
    config = transformers.MPNetConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    attend(model, 10 * EAGER)
    assert model.config._attn_implementation == "eager"


MEMORY = """
import json, sys, torch, transformers
from pathlib import Path
from edgedistill.memory import forget_peak, peak_bytes
from edgedistill.progress import Progress, silent
from edgedistill.spec import Schedule
from edgedistill.training import loop
from edgedistill.training.models import attend

tokens = int(sys.argv[1])
sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 256}
config = transformers.BertConfig(vocab_size=100, max_position_embeddings=512, attention_probs_dropout_prob=0.0, **sizes)
model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
attend(model, tokens)
collate = lambda rows: {"x": torch.full((len(rows), tokens), 7), "labels": torch.zeros(len(rows), dtype=torch.long)}
loss = lambda model, extras, batch, share: {"ce": torch.nn.functional.cross_entropy(model(input_ids=batch["x"]).logits.float(), batch["labels"])}
plan = loop.Plan(lengths=[tokens] * 64, frequency=[1.0] * 64, collate=collate, loss=loss, score=lambda model: 0.0, higher=True,
                 schedule=Schedule(epochs=1, batch_size=64, evaluations=1), seed=0, extras=torch.nn.ModuleDict())
forget_peak()
before = peak_bytes()
loop.train(model, plan, Path(sys.argv[2]), Progress(silent, "teach"))
print(json.dumps((peak_bytes() - before) / 2**20))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system does not tell a process's peak of memory")
@pytest.mark.parametrize("tokens", [256, 512])
def test_memory_does_not_grow_with_the_length_of_texts(tmp_path: Path, tokens: int) -> None:
    """64 texts of 512 tokens in one piece and eager attention: 8 heads · 64 · 512² · 4 bytes = 537 MB for each of several tensors in each layer."""
    command = [sys.executable, "-c", MEMORY, str(tokens), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 350
