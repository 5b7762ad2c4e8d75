"""What the tests share: a tiny real teacher and rows that it can learn, made here in a second."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD = ["sunny", "bright", "lovely", "warm", "kind", "gentle"]
BAD = ["gloomy", "bitter", "awful", "cold", "cruel", "harsh"]
PLAIN = ["table", "chair", "stone", "paper", "door", "window"]
FILLER = ["the", "a", "this", "film", "story", "day", "was", "is", "very", "quite", "and", "so", "it", "felt"]
CLASSES = {"positive": GOOD, "negative": BAD, "neutral": PLAIN}


SLOW = (
    "test_default_recipe",
    "test_foreign",
    "test_end_to_end",
    "test_resume",
    "test_providers",
    "test_quantization_aware",
    "test_ssh",
    "test_adb",
    "test_projects",
    "test_devices_contract",
    "test_emulate",
    "test_foreign_hostile",
    "test_browser",
    "test_scripts",
    "test_bad_input",
    "test_bench",
    "test_broken_training",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file goes to one worker, whose fixtures its tests share; those that take minutes go first, so that no worker ends with one.

    pytest-randomly has shuffled the other files, and the tests inside of each.
    """
    items.sort(key=lambda item: next((place for place, name in enumerate(SLOW) if item.path.stem == name), len(SLOW)))


TORCHS_SEED = 67280421310721  # what its generator begins with


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test begins with the same state of torch's generator, whichever ran before; pytest-randomly does so for Python's and NumPy's."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(TORCHS_SEED)


def sentence(words: list[str], draw: random.Random) -> str:
    """Filler around two words of one class."""
    parts = draw.choices(FILLER, k=draw.randint(3, 9)) + draw.choices(words, k=2)
    draw.shuffle(parts)
    return " ".join(parts)


def write_rows(file: Path, count: int, seed: int = 0) -> Path:
    """A csv with columns review and verdict: three classes that a word decides."""
    draw = random.Random(seed)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["review", "verdict"])
        for index in range(count):
            name = list(CLASSES)[index % 3]
            writer.writerow([f"{sentence(CLASSES[name], draw)} {index}", name])
    return file


def make_teacher(folder: Path, labels: list[str] | None = None, layers: int = 4) -> Path:
    """A BERT of four narrow layers with random weights and a real WordPiece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    characters = sorted({character for words in (*CLASSES.values(), FILLER) for word in words for character in word} | set("0123456789"))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    pieces += sorted({word for words in (*CLASSES.values(), FILLER) for word in words if len(word) > 1})
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    config = BertConfig(vocab_size=len(vocabulary), num_labels=len(labels or CLASSES), **sizes)
    if labels:
        config.id2label, config.label2id = dict(enumerate(labels)), {label: index for index, label in enumerate(labels)}
    BertForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


RECIPE = """
seed = 3
[data]
source = "rows.csv"
text = "review"
label = "verdict"
test = 90
validation = 60
calibration = 32
max_length = 24
[transfer]
source = "more.txt"
rows = 300
[teacher]
model = "teacher"
[teach]
epochs = 12
batch_size = 32
learning_rate = 2e-3
[student]
layers = [0, 1]
vocabulary = 100
[[rounds]]
losses = { kl = { weight = 0.9, temperature = 2.0 }, ce = { weight = 0.1 } }
schedule = { epochs = 8, batch_size = 32, learning_rate = 2e-3 }
[gates]
retention = 0.8
"""


def write_project(folder: Path) -> Path:
    """A folder with a recipe, rows, transfer texts and a teacher."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.csv", 600)
    draw = random.Random(9)
    words = [word for part in CLASSES.values() for word in part]
    lines = [f"{sentence([draw.choice(words)], draw)} {index}" for index in range(1000, 1300)]
    (folder / "more.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    make_teacher(folder / "teacher")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return folder


def run_cli(*words: str, cwd: Path, check: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a fresh process; `check` is the exit code it must have."""
    command = [sys.executable, "-m", "edgedistill", *words]
    # one thread: tests run side by side, and OpenMP's threads spin while they wait for a core that another test has
    settings = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert check is None or done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def build_json(folder: Path, *words: str, store: Path | None = None, gates: bool = True) -> dict[str, Any]:
    """`edgedistill build --json` in a project; without `gates` it may end with 4: a teacher that learned nothing leaves no retention to ask for."""
    place = ["--store", str(store)] if store else []
    command = ("build", *(words or ("--target", "linux-x64")), "--json", *place)
    done = run_cli(*command, cwd=folder, check=0 if gates else None)
    assert done.returncode in (0, 4), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of this process's own."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def built(project: Path) -> dict[str, Any]:
    """The project's first build for linux-x64."""
    return build_json(project, "--target", "linux-x64")
