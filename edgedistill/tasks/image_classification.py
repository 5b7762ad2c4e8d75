"""Image classification: an image in, one of two or more classes out. The processor's constants travel in the bundle.

An image is turned as transformers' processors turn it: mode, resize, centre crop where there is one, then (pixel · scale − mean) ÷ deviation.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import packages
from edgedistill.checking import read_json
from edgedistill.errors import IntegrityError
from edgedistill.tasks._text import forward, pick, picks
from edgedistill.tasks.text_classification import (
    alike,
    answers,
    chance,
    decisions,
    evidence,
    head,
    labels,
    names,
    number,
    respelled,
    shape,
    stratum,
    target,
    total,
)

__all__ = ["alike", "answers", "chance", "decisions", "evidence", "forward", "head", "labels", "names", "number"]
__all__ += ["pick", "picks", "respelled", "shape", "stratum", "target", "total"]

METRIC = "accuracy"
HIGHER = True
AUTO_CLASS = "AutoModelForImageClassification"
TRAINING_LOSS = "ce"
COLUMNS = {"image": "image", "label": "label"}
UNLABELLED = {"image": "image"}
OPTIONAL: tuple[str, ...] = ()
RAW: tuple[str, ...] = ()
CLASSES = True
VOCABULARY = False
SHOWN = "photo.jpg"  # what `predict` is given
ANSWER = "`logits` has one number for each entry of `labels.json`; the largest is the answer."
FILES = ("preprocessor_config.json",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """How an image becomes numbers: `height`, `width` in pixels, `mode` as Pillow names it, one `mean` and `deviation` a channel.

    With `shortest` above 0 the shorter side is resized to it, and `height` × `width` are cut out of the middle.
    """

    height: int
    width: int
    shortest: int = 0
    mode: str
    resample: int
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def pixels(self, content: bytes) -> NDArray[np.uint8]:
        """The resized image [channels, height, width]. Raises ValueError when the bytes are not a whole image."""
        pillow = packages.load("PIL.Image", "reading images")
        try:
            with pillow.open(io.BytesIO(content)) as opened:
                image = opened.convert("RGBA").convert(self.mode) if opened.mode in ("P", "LA", "PA") else opened.convert(self.mode)
        except (OSError, SyntaxError, ValueError) as error:  # how Pillow says truncated, unknown, broken
            raise ValueError(f"not a whole image: {error}") from error
        array = np.asarray(self._resized(image), np.uint8)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)

    def _resized(self, image: Any) -> Any:
        if not self.shortest:
            return image.resize((self.width, self.height), self.resample)
        share = self.shortest / min(image.size)
        sides = [self.shortest if side == min(image.size) else int(side * share) for side in image.size]
        left, top = (sides[0] - self.width) // 2, (sides[1] - self.height) // 2
        return image.resize(tuple(sides), self.resample).crop((left, top, left + self.width, top + self.height))


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image as the model will see it."""

    pixels: NDArray[np.uint8]
    processor: Processor

    def __len__(self) -> int:
        return 1


def load(folder: Path) -> Processor:
    """The processor of a folder. Raises IntegrityError when its file is not one."""
    file = folder / FILES[0]
    try:
        spec = read_json(file.read_text(encoding="utf-8"))
        size = spec["size"]
        if isinstance(size, int):  # whether of both sides or of the shorter one, older files left to the class that reads them
            raise ValueError(f"its size is the number {size}; AutoImageProcessor.from_pretrained(…).save_pretrained(…) of transformers writes it out")
        shortest = int(size.get("shortest_edge", 0))
        shape = spec["crop_size"] if spec.get("do_center_crop") else size
        if shape is not size and not shortest and (size["height"], size["width"]) != (shape["height"], shape["width"]):
            raise ValueError("a crop out of an image of fixed sides is not known")
        height, width = shape["height"], shape["width"]
        mean, deviation = tuple(spec["image_mean"]), tuple(spec["image_std"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{file} is not a processor of images with sizes, mean and deviation: {error}") from error
    if not spec.get("do_normalize", True):
        mean, deviation = (0.0,) * len(mean), (1.0,) * len(mean)
    scale = float(spec.get("rescale_factor", 1 / 255)) if spec.get("do_rescale", True) else 1.0
    mode = "L" if len(mean) == 1 else "RGB"
    resample = int(spec.get("resample", 2))
    return Processor(height=height, width=width, shortest=shortest, mode=mode, resample=resample, scale=scale, mean=mean, deviation=deviation)


def example(values: Mapping[str, Any]) -> dict[str, Any]:
    """The image's bytes. Raises ValueError when they cannot be read as one."""
    Processor(height=8, width=8, mode="RGB", resample=0, scale=1.0, mean=(0.0,), deviation=(1.0,)).pixels(values["image"])
    return {"image": values["image"]}


def asked(text: str) -> dict[str, Any]:
    """What a user gives `predict`: the path of an image. Raises ValueError when it cannot be read."""
    try:
        return {"image": Path(text).read_bytes()}
    except OSError as error:
        raise ValueError(f"{text}: {error.strerror}") from error


def identity(example: Mapping[str, Any]) -> str:
    """Images are the same when their bytes are."""
    return hashlib.sha256(example["image"]).hexdigest()


group = identity


def encode(processor: Processor, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[ImageRow]]:
    """One row an image."""
    return [[ImageRow(processor.pixels(one["image"]), processor)] for one in examples]


def feeds(rows: Sequence[ImageRow], pad_id: int) -> dict[str, NDArray[Any]]:
    """`pixel_values`, float32 [b, channels, height, width]."""
    processor = rows[0].processor
    pixels = np.stack([row.pixels for row in rows]).astype(np.float32) * np.float32(processor.scale)
    mean, deviation = (np.array(values, np.float32)[None, :, None, None] for values in (processor.mean, processor.deviation))
    return {"pixel_values": ((pixels - mean) / deviation).astype(np.float32)}
