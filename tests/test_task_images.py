"""The image processor against transformers' own, on every mode that a file may have; and what is no image."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from task_cases import png

from edgedistill.errors import IntegrityError
from edgedistill.tasks import image_classification as task

SETTINGS: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 24, "width": 20},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "1")
SIZES = ((20, 24), (64, 48), (9, 7), (200, 31))
GREY = 1 / 255 / 0.224  # one grey level after scaling, of the narrowest channel


def processor(folder: Path, **changed: Any) -> task.Processor:
    (folder / "preprocessor_config.json").write_text(json.dumps({**SETTINGS, **changed}), encoding="utf-8")
    return task.load(folder)


def fed(made: task.Processor, content: bytes) -> np.ndarray:
    return task.feeds([task.encode(made, [{"image": content}], 0)[0][0]], 0)["pixel_values"]


def theirs(content: bytes, **changed: Any) -> np.ndarray:
    """transformers' slow ViT processor (Pillow and numpy) on the image as RGB, which its callers have to make."""
    from transformers.models.vit import image_processing_pil_vit

    made = image_processing_pil_vit.ViTImageProcessorPil(**{**SETTINGS, **changed})
    with Image.open(io.BytesIO(content)) as opened:
        image = opened.convert("RGBA").convert("RGB") if opened.mode in ("P", "LA", "PA") else opened.convert("RGB")
    return np.asarray(made(image, return_tensors="np")["pixel_values"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_transformers_when_the_mode_is(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    content = png(mode, size, form="TIFF" if mode == "CMYK" else "PNG")
    ours, expected = fed(processor(tmp_path), content), theirs(content)
    assert ours.shape == expected.shape == (1, 3, 24, 20)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-6 if size == (20, 24) else 1.01 * GREY)


@pytest.mark.parametrize("resample", [0, 2, 3])
def test_pixels_follow_the_filter_when_it_is_another(resample: int, tmp_path: Path) -> None:
    content = png(size=(64, 48))
    np.testing.assert_allclose(fed(processor(tmp_path, resample=resample), content), theirs(content, resample=resample), atol=1.01 * GREY)


@pytest.mark.parametrize("changed", [{"do_rescale": False}, {"do_normalize": False}, {"rescale_factor": 1 / 127.5}])
def test_numbers_follow_the_settings_when_a_step_is_left_out(changed: dict[str, Any], tmp_path: Path) -> None:
    content = png(size=(20, 24))
    np.testing.assert_allclose(fed(processor(tmp_path, **changed), content), theirs(content, **changed), rtol=1e-5, atol=1e-5)


def test_values_are_right_when_counted_by_hand(tmp_path: Path) -> None:
    """A grey of 51 is 0.2; less 0.5, over 0.25, that is −1.2."""
    stream = io.BytesIO()
    Image.new("L", (5, 5), 51).save(stream, "PNG")
    found = fed(processor(tmp_path, image_mean=[0.5] * 3, image_std=[0.25] * 3), stream.getvalue())
    np.testing.assert_allclose(found, -1.2, atol=1e-6)


def test_one_channel_stays_when_the_processor_has_one_mean(tmp_path: Path) -> None:
    made = processor(tmp_path, image_mean=[0.0], image_std=[1.0], size={"height": 6, "width": 7})
    content = png("L", (7, 6))
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_allclose(fed(made, content)[0, 0], np.asarray(opened) / 255, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no image at all", png()[:200]])
def test_bytes_are_refused_when_they_are_no_whole_image(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a whole image"):
        task.example({"image": content})


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"size": {"height": 2, "width": 2}}', '{"image_mean": [1], "image_std": [1]}'])
def test_processor_is_refused_when_its_file_is_not_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(IntegrityError, match="preprocessor_config"):
        task.load(tmp_path)


def test_images_are_the_same_when_their_bytes_are(tmp_path: Path) -> None:
    assert task.identity({"image": png()}) == task.identity({"image": png()})
    assert task.identity({"image": png()}) != task.identity({"image": png(seed=1)})
    (tmp_path / "a.png").write_bytes(png())
    assert task.asked(str(tmp_path / "a.png")) == {"image": png()}
    with pytest.raises(ValueError, match=r"gone\.png"):
        task.asked(str(tmp_path / "gone.png"))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (64, 33)])
def test_pixels_are_transformers_own_when_the_shorter_side_is_resized_and_the_middle_cut_out(size: tuple[int, int], tmp_path: Path) -> None:
    from transformers import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 16, "width": 20}, resample=3)
    theirs.save_pretrained(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    rows = task.encode(task.load(tmp_path), [{"image": stream.getvalue()}], 0)
    expected = theirs(picture, return_tensors="np")["pixel_values"]
    assert task.feeds(rows[0], 0)["pixel_values"] == pytest.approx(expected, abs=0.02)  # one grey level


def test_the_way_out_is_named_when_a_size_is_a_bare_number(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"size is the number 24.*save_pretrained"):
        processor(tmp_path, size=24)
