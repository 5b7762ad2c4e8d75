"""A tiny project for each task: rows that are made here, a random teacher of two layers, and a recipe that builds in seconds."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import CLASSES, FILLER, sentence
from task_cases import SPECIAL, framed

TEST, VALIDATION, TRAIN = 30, 20, 80
WORDS = [word for words in CLASSES.values() for word in words]
KINDS = {word: name for name, words in CLASSES.items() for word in words}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
RECIPE = """
task = "{task}"
seed = 3
[data]
{data}
validation = {validation}
calibration = 8
max_length = {max_length}
{transfer}
[teacher]
model = "teacher"
[teach]
epochs = 3
batch_size = 16
learning_rate = 3e-3
evaluations = 1
[student]
{student}
[[rounds]]
losses = {losses}
schedule = {{ epochs = 3, batch_size = 16, learning_rate = 3e-3, evaluations = 2 }}
[gates]
retention = 0.001
"""
KL = "{ kl = { weight = 0.9, temperature = 2.0 }, ce = { weight = 0.1 } }"
TRIMMED = "layers = 1\nvocabulary = 100"
LOOSE = {"accuracy_drop": "1.0", "int8_agreement": "0.0", "int8_drop": "1.0", "fp32_max_abs": "1e-4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """How a task's project is made, and what its user then asks and gets."""

    task: str
    data: str
    write: Callable[[Path], None]  # the rows: train and test
    teacher: Callable[[Path], None]
    asked: str
    answer: tuple[str, ...]  # keys of an answer
    test: str
    losses: str = KL
    student: str = TRIMMED
    transfer: str = ""
    max_length: int = 24


def write_project(folder: Path, project: Project) -> Path:
    """The recipe, the rows, the teacher, and a target that lets any student pass."""
    folder.mkdir(parents=True, exist_ok=True)
    project.write(folder)
    project.teacher(folder / "teacher")
    options = {name: getattr(project, name) for name in ("task", "data", "losses", "student", "transfer", "max_length")}
    (folder / "recipe.toml").write_text(RECIPE.format(validation=VALIDATION, **options), encoding="utf-8")
    write_target(folder / "loose.toml")
    return folder


def write_target(file: Path) -> None:
    """linux-x64 with two schemes and limits that an untaught student holds."""
    import tomllib

    from edgedistill import plugins

    text = plugins.data_file("targets", "linux-x64").read_text(encoding="utf-8")
    for name, value in LOOSE.items():
        before, after = text.split(f"{name} = {{ value = ")
        text = f"{before}{name} = {{ value = {value},{after.partition(',')[2]}"
    wanted = ('scheme = "fp32"', 'scheme = "int8-dynamic"', "why = ")  # the forbidden ones stay
    kept = [line for line in text.splitlines() if "scheme = " not in line or any(word in line for word in wanted)]
    file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert len(tomllib.loads(file.read_text(encoding="utf-8"))["quantization"]["allowed"]) == 2


def tokenizer(folder: Path, extra: tuple[str, ...] = ()) -> int:
    """A WordPiece tokenizer over the words of the rows; returns how many pieces it has."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    characters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789?."))
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters), *sorted({*WORDS, *FILLER, *extra} - set(characters))]
    made = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    framed(made).save(str(folder / "tokenizer.json"))
    return len(pieces)


def bert(name: str, **options: Any) -> Callable[[Path], None]:
    """Writes a random BERT with the head of this class and its tokenizer."""

    def write(folder: Path) -> None:
        import torch
        import transformers

        config = transformers.BertConfig(vocab_size=tokenizer(folder), **{**BERT, **options})
        torch.manual_seed(0)
        getattr(transformers, name)(config).save_pretrained(folder, safe_serialization=True)

    return write


def table(make: Callable[[random.Random], list[str]], columns: list[str]) -> Callable[[Path], None]:
    """Writes train.csv and test.csv of drawn rows; a running number keeps them apart."""

    def write(folder: Path) -> None:
        draw = random.Random(7)
        for name, count in (("train", TRAIN + VALIDATION), ("test", TEST)):
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                writer.writerows(numbered(make(draw), f"{name[1]}{index}") for index in range(count))

    return write


def numbered(row: list[str], number: str) -> list[str]:
    return [f"{row[0]} {number}", *row[1:]]


def paired(draw: random.Random) -> list[str]:
    one, other = draw.choice(list(CLASSES)), draw.choice(list(CLASSES))
    return [sentence(CLASSES[one], draw), sentence(CLASSES[other], draw), "same" if one == other else "other"]


def several(draw: random.Random) -> list[str]:
    kinds = draw.sample(list(CLASSES), draw.randint(0, 2))
    words = draw.choices(FILLER, k=5) + [draw.choice(CLASSES[kind]) for kind in kinds]
    return [" ".join(words), "|".join(kinds)]


def scored(draw: random.Random) -> list[str]:
    words = draw.choices(WORDS, k=4)
    return [" ".join(words), str(sum({"positive": 1, "negative": -1, "neutral": 0}[KINDS[word]] for word in words))]


def likened(draw: random.Random) -> list[str]:
    one, other, says = paired(draw)
    return [one, other, f"{draw.uniform(3, 5) if says == 'same' else draw.uniform(0, 2):.2f}"]


def tagged(folder: Path) -> None:
    """train.conll and test.conll: words of one kind beside each other are one entity."""
    draw = random.Random(7)
    for name, count in (("train", TRAIN + VALIDATION), ("test", TEST)):
        sentences = []
        for index in range(count):
            words = [*draw.choices(FILLER, k=4), *draw.choices(WORDS, k=4)]
            draw.shuffle(words)
            words += [f"{name[1]}{index}"]
            kinds = [KINDS.get(word, "") for word in words]
            marks = ["" if not kind else "I-" if place and kinds[place - 1] == kind else "B-" for place, kind in enumerate(kinds)]
            sentences.append("\n".join(f"{word} {mark}{kind or 'O'}" for word, mark, kind in zip(words, marks, kinds, strict=True)))
        (folder / f"{name}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


def questioned(folder: Path) -> None:
    """train.json and test.json in SQuAD's form: which positive word is in the text? In every fourth there is none."""
    draw = random.Random(7)
    for name, count in (("train", TRAIN + VALIDATION), ("test", TEST)):
        articles = []
        for index in range(count):
            words = [*draw.choices(FILLER, k=draw.choice([8, 8, 40])), f"{name[1]}{index}"]
            word = draw.choice(CLASSES["positive"])
            words.insert(draw.randrange(len(words)), word if index % 4 else "none")
            context = " ".join(words)
            answers = [{"text": word, "answer_start": context.index(word)}] if index % 4 else []
            question = {"id": f"{name}{index}", "question": "which good word is it?", "answers": answers, "is_impossible": not answers}
            articles.append({"title": "made", "paragraphs": [{"context": context, "qas": [question]}]})
        (folder / f"{name}.json").write_text(json.dumps({"version": "2.0", "data": articles}), encoding="utf-8")


def plain(folder: Path) -> None:
    draw = random.Random(7)
    for name, count in (("train", TRAIN + VALIDATION), ("test", TEST)):
        lines = [f"{sentence(draw.choice(list(CLASSES.values())), draw)} {name[1]}{index}" for index in range(count)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def painted(folder: Path) -> None:
    """Folders of PNG files of other sizes and modes, a colour a class."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(7)
    for split, count in (("pictures/train", 100), ("pictures/test", 30)):
        for index in range(count):
            kind = ("blue", "green", "red")[index % 3]
            noise = random.integers(0, 160, (random.integers(14, 40), random.integers(14, 40), 3), dtype=np.uint8)
            noise[:, :, 2 - index % 3] += 95
            place = folder / split / kind / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).convert("P" if index % 5 == 0 else "RGB").save(place)


def seeing(name: str, **options: Any) -> Callable[[Path], None]:
    """Writes a random model of images and its processor."""

    def write(folder: Path) -> None:
        import torch
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**options)
        getattr(transformers, f"{name}ForImageClassification")(config).save_pretrained(folder, safe_serialization=True)
        means = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        settings = {"do_resize": True, "size": {"height": 16, "width": 16}, "resample": 2, "rescale_factor": 1 / 255, **means}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")

    return write


VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 16, "patch_size": 4}
RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
PICTURES = 'source = "pictures/train"\ntest = "pictures/test"'
FEATURES = "{ kl = { weight = 1.0 }, hidden-mse = { weight = 0.5, layers = [[0, 0], [1, 2]] }, relation = { weight = 0.5, heads = 2 } }"
COLUMNS = 'source = "train.csv"\ntest = "test.csv"'
PROJECTS = {
    "pairs": Project(
        task="text-classification",
        data=f'{COLUMNS}\ntext = "premise"\npair = "claim"\nlabel = "says"',
        write=table(paired, ["premise", "claim", "says"]),
        teacher=bert("BertForSequenceClassification"),
        losses=FEATURES,
        asked='{"text": "a sunny day", "pair": "the day was bright"}',
        answer=("label", "probability", "all"),
        test="test.csv",
        max_length=40,
    ),
    "several": Project(
        task="multi-label-classification",
        data=f'{COLUMNS}\nseparator = "|"',
        write=table(several, ["text", "labels"]),
        teacher=bert("BertForSequenceClassification"),
        losses="{ binary-kl = { weight = 0.9 }, bce = { weight = 0.1 } }",
        asked="a sunny day",
        answer=("labels", "all"),
        test="test.csv",
    ),
    "number": Project(
        task="text-regression",
        data=COLUMNS,
        write=table(scored, ["text", "score"]),
        teacher=bert("BertForSequenceClassification"),
        losses="{ mse = { weight = 0.9 }, label-mse = { weight = 0.1 } }",
        asked="a sunny day",
        answer=("score",),
        test="test.csv",
    ),
    "tags": Project(
        task="token-classification",
        data='source = "train.conll"\ntest = "test.conll"',
        write=tagged,
        teacher=bert("BertForTokenClassification"),
        asked="a sunny bright day was awful.",
        answer=("words", "entities"),
        test="test.conll",
        max_length=12,
    ),
    "questions": Project(
        task="question-answering",
        data='source = "train.json"\ntest = "test.json"',
        write=questioned,
        teacher=bert("BertForQuestionAnswering"),
        asked='{"question": "which good word is it?", "context": "the day was sunny and so it felt"}',
        answer=("answer", "score"),
        test="test.json",
        max_length=32,
    ),
    "vectors": Project(
        task="sentence-embedding",
        data=COLUMNS,
        write=table(likened, ["sentence1", "sentence2", "score"]),
        teacher=bert("BertModel"),
        losses="{ embedding-cosine = { weight = 1.0 }, similarity = { weight = 1.0 } }",
        asked='{"text": "a sunny day", "pair": "the day was bright"}',
        answer=("cosine",),
        test="test.csv",
    ),
    "masks": Project(
        task="masked-language-modeling",
        data='source = "train.txt"\ntest = "test.txt"',
        write=plain,
        teacher=bert("BertForMaskedLM"),
        student="layers = 1",  # the classes are the vocabulary: it stays the teacher's
        asked="a [MASK] day",
        answer=("masks",),
        test="test.txt",
    ),
    "vit": Project(
        task="image-classification",
        data=PICTURES,
        write=painted,
        teacher=seeing("ViT", **VIT),
        student="layers = 1",
        asked="pictures/test/red/2.png",
        answer=("label", "probability", "all"),
        test="pictures/test",
    ),
    "resnet": Project(
        task="image-classification",
        data=PICTURES,
        write=painted,
        teacher=seeing("ResNet", **RESNET),
        student='method = "config"\nconfig = { embedding_size = 4 }',
        asked="pictures/test/red/2.png",
        answer=("label", "probability", "all"),
        test="pictures/test",
    ),
}
