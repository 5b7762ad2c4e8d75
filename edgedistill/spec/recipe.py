"""What is asked for: the nouns of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgedistill.spec._noun import Noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Data(Noun):
    """Labelled rows: where they are, which columns matter, what is held out.

    `source` is a file (csv, tsv, jsonl, parquet, txt …, each also .gz), a folder saved by `datasets`, `package:NAME/FILE` for a file of an
    installed package, or `hub:OWNER/NAME[@REVISION]`. `columns` names the columns of a file without a header. What `text`, `pair`,
    `image` and `label` mean, and their columns where they are left out, is the task's to say (`edgedistill tasks show NAME`). `separator`
    stands between the labels of a row that has several. `rows` draws that many. `test` and `validation` are a number of rows, a share
    below 1, or a file of their own.

    `names` are the classes by number: `names[i]` is what the label i means where the data's labels are 0 … n−1, and the class of output i of a
    teacher that has no names of its own (LABEL_0 …). Where it holds the data's own labels, it is their order alone. `merge` counts one label as
    another: the spelling that the data has, and the label that it means.
    """

    source: str
    columns: tuple[str, ...] = ()
    text: str | None = None
    pair: str | None = None
    image: str | None = None
    label: str | None = None
    separator: str = ","
    names: tuple[str, ...] | None = None
    merge: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"
    rows: int | None = None
    test: int | float | str = 0.2
    validation: int | float | str = 0.1
    calibration: int = 256
    max_length: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Noun):
    """Examples without labels, for the teacher to label; `sentences` cuts documents into sentences of `min_words` to `max_words` words.

    A row of a set of `weight` 2 is seen twice in each epoch, one of weight ½ in every second.
    """

    source: str
    columns: tuple[str, ...] = ()
    text: str | None = None
    pair: str | None = None
    image: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"
    rows: int = 50_000
    weight: float = 1.0
    sentences: bool = False
    min_words: int = 1
    max_words: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher(Noun):
    """A transformers model: a folder, `package:NAME[/FOLDER]`, or `hub:OWNER/NAME[@REVISION]`.

    Its weights are read as float32. `dtype` (`bfloat16`, `float16`) is what a GPU labels the rows in; a CPU labels in float32.
    """

    model: str
    dtype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Noun):
    """One training: how long, how fast, when to look and when to stop. `patience` counts evaluations without a better validation score."""

    epochs: float = 3.0
    batch_size: int = 64
    learning_rate: float = 1e-4
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    dropout: float = 0.0
    evaluations: int = 6
    patience: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Student(Noun):
    """How the student begins: `method` is one way to make it, or several in their order, each on what the one before made.

    `layers` is a number of layers from the bottom, their numbers, or the name of a map (`bottom`, `uniform`, `last`, `auto`); `width`,
    `heads`, `intermediate` and `embedding` are sizes for the methods that shrink; `vocabulary` is the tokenizer's size after trimming.
    """

    method: str | tuple[str, ...] = "layers"
    layers: int | tuple[int, ...] | str = 3
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    intermediate: int | None = None
    embedding: int | None = None
    vocabulary: int | None = None
    config: Mapping[str, int] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Noun):
    """One term of a round's loss. `weight` is constant, or points (share of the training, weight) with straight lines between them.

    The rest only where the loss has it: `temperature`, `layers` as (student's, teacher's) numbers with 0 the embeddings, relation `heads`,
    and `alpha`, `beta` of decoupled KD.
    """

    weight: float | tuple[tuple[float, float], ...] = 1.0
    temperature: float | None = None
    layers: tuple[tuple[int, int], ...] | None = None
    heads: int | None = None
    alpha: float | None = None
    beta: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round(Noun):
    """One round of distillation: a weighted mix of losses on a schedule.

    `confidence` γ above 0 counts a row (1 − entropy of the teacher's classes ÷ its maximum)^γ in the losses that follow the teacher.
    `quantization_aware` trains it with the rounding of int8 in weights and activations; what is saved is a plain model whose weights bear it.
    """

    losses: Mapping[str, Loss] = field(default_factory=lambda: {"kl": Loss(weight=0.9), "ce": Loss(weight=0.1)})
    schedule: Schedule = field(default_factory=Schedule)
    confidence: float = 0.0
    quantization_aware: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrain(Noun):
    """A first training of the student on masked language modelling over the training and transfer texts, before any round.

    `teacher` adds the teacher's own distribution over the masked pieces to the loss, where its folder holds the head for it.
    """

    schedule: Schedule = field(default_factory=Schedule)
    teacher: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment(Noun):
    """`copies` changed versions of each training row, for the teacher to label. Shares are of words.

    `drop` leaves words out and `swap` exchanges spans, so that no single word or place decides; `substitute` puts in what the masked language
    model `model` would (TinyBERT, Jiao et al. 2020, arXiv:1909.10351, algorithm 1).
    """

    copies: int = 2
    drop: float = 0.1
    swap: float = 0.1
    substitute: float = 0.0
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates(Noun):
    """What the bundle must hold on the test split: `retention` is its score ÷ the teacher's."""

    retention: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Noun):
    """What to learn. `teach` is None where the teacher already knows the task; `controls` adds the same student trained without a teacher."""

    name: str
    task: str = "text-classification"
    seed: int = 0
    data: Data
    transfer: Transfer | tuple[Transfer, ...] | None = None
    augment: Augment | None = None
    teacher: Teacher
    teach: Schedule | None = None
    student: Student = field(default_factory=Student)
    pretrain: Pretrain | None = None
    rounds: tuple[Round, ...] = (Round(),)
    gates: Gates = field(default_factory=Gates)
    controls: bool = False

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The transfer sets, however many there are."""
        if self.transfer is None:
            return ()
        return self.transfer if isinstance(self.transfer, tuple) else (self.transfer,)
