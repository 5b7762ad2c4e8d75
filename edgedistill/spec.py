"""The nouns: what is asked for, what is made, what is measured. Frozen, typed, JSON-able.

pydantic checks them where files come in (`config.load_recipe`, `config.load_target`); here they are plain dataclasses, so that
reading them needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal


class Noun:
    """Base of every noun; tells pydantic that an unknown key is an error."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Data(Noun):
    """Labelled rows: where they are, which columns matter, what is held out.

    `source` is a file (csv, tsv, jsonl, parquet, txt …, each also .gz), a folder saved by `datasets`, `package:NAME/FILE` for a file of an
    installed package, or `hub:OWNER/NAME[@REVISION]`. `columns` names the columns of a file without a header. What `text`, `pair`,
    `image` and `label` mean, and their columns where they are left out, is the task's to say (`edgedistill tasks show NAME`). `separator`
    stands between the labels of a row that has several. `rows` draws that many. `test` and `validation` are a number of rows, a share
    below 1, or a file of their own.
    """

    source: str
    columns: tuple[str, ...] = ()
    text: str | None = None
    pair: str | None = None
    image: str | None = None
    label: str | None = None
    separator: str = ","
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
    """A transformers model: a folder, `package:NAME[/FOLDER]`, or `hub:OWNER/NAME[@REVISION]`."""

    model: str


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
    """

    losses: Mapping[str, Loss] = field(default_factory=lambda: {"kl": Loss(weight=0.9), "ce": Loss(weight=0.1)})
    schedule: Schedule = field(default_factory=Schedule)
    confidence: float = 0.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Noun):
    """A value with where it comes from."""

    value: int | float | str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed(Noun):
    """A quantisation scheme that this device runs, best first; `source` backs it."""

    scheme: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden(Noun):
    """A scheme that must not be shipped to this device, why, and who found out."""

    scheme: str
    why: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform(Noun):
    """The operating system and instruction set."""

    os: str
    arch: Literal["aarch64", "x86_64", "armv7l"]
    abi: str
    requires: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Noun):
    """What executes the model there: `threads` for one session, oldest ONNX Runtime, and what the graph may use."""

    package: Fact
    min_ort: Fact
    provider: Fact
    threads: Fact
    opset: Fact
    ir_version_max: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization(Noun):
    """Schemes in the order in which this profile's sources would try them, and those it refuses."""

    allowed: tuple[Allowed, ...]
    forbidden: tuple[Forbidden, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Noun):
    """Limits that a bundle must hold here. MB are 10⁶ bytes; a drop is teacher minus bundle, as a share of 1."""

    model_mb: Fact
    accuracy_drop: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(Noun):
    """Largest difference of logits, fp32 ONNX against torch; smallest agreement and largest loss of score, quantised file against fp32."""

    fp32_max_abs: Fact
    int8_agreement: Fact
    int8_drop: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Noun):
    """A device class. The file's stem is its name."""

    name: str
    summary: str
    status: Literal["stable", "experimental", "deprecated", "unmeasured"]
    platform: Platform
    runtime: Runtime
    quantization: Quantization
    budget: Budget
    parity: Parity
    transport: str = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One function call of the pipeline. `params` and the keys of `needs` make the key; `places` only say where things are on this machine."""

    stage: str
    params: Any
    needs: Mapping[str, Step]
    places: Mapping[str, str]
    asked: Mapping[str, Any]
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a step left behind: a folder of files, and the receipt that says how it came to be."""

    stage: str
    key: str
    path: Path
    receipt: Mapping[str, Any]
    cached: bool = False

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage found out, as it wrote it."""
        facts: Mapping[str, Any] = self.receipt["facts"]
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a stage gets: the artifacts it needs, by role, and the places of outside data."""

    artifacts: Mapping[str, Artifact]
    places: Mapping[str, str]

    def __getitem__(self, role: str) -> Artifact:
        return self.artifacts[role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Noun):
    """Raw samples of one metric of one subject under stated conditions. The unit is part of the metric's name: `latency_ms`, `peak_mib`."""

    subject: str
    metric: str
    samples: tuple[float, ...]
    warmups: tuple[float, ...] = ()
    conditions: Mapping[str, str | int | float] = field(default_factory=dict)
    provenance: Literal["measured", "emulated", "unmeasured"] = "measured"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Noun):
    """One model in a report. Scores are on the test split; intervals are 95 %."""

    name: str
    title: str
    bytes: int
    score: float
    interval: tuple[float, float]
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Noun):
    """One quantisation scheme that was tried: its score on the validation rows, agreement and latency against the fp32 student."""

    scheme: str
    bytes: int
    score: float
    agreement: float
    latency_ratio: float | None
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve(Noun):
    """A series of (step, value) from one training."""

    training: str
    metric: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Noun):
    """A gate and how it came out, as a sentence a person can read."""

    rule: str
    limit: float
    value: float
    ok: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Noun):
    """Everything a person or CI wants to know about one bundle on one device."""

    name: str
    target: str
    bundle: str
    created: str
    task: str
    metric: str
    n_test: int
    retention: float
    retention_interval: tuple[float, float]
    subjects: tuple[Subject, ...]
    candidates: tuple[Candidate, ...]
    measurements: tuple[Measurement, ...]
    curves: tuple[Curve, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, Any]


def plain(noun: Any) -> Any:
    """A noun as JSON-able dicts, lists and scalars."""
    return asdict(noun)
