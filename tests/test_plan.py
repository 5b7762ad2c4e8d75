"""The plan as data: which steps, what each needs, and which of them a change of the recipe makes anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RECIPE, write_rows

from edgedistill import config, pipeline
from edgedistill.spec import Step

GOLDEN = Path(__file__).with_name("golden") / "plan.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that can be planned: a plan reads digests, never weights."""
    place = tmp_path_factory.mktemp("plan")
    write_rows(place / "rows.csv", 60)
    (place / "more.txt").write_text("some text\n", encoding="utf-8")
    (place / "teacher").mkdir()
    (place / "teacher" / "config.json").write_text("{}", encoding="utf-8")
    (place / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return place


def steps(folder: Path, *settings: str, target: str = "android-arm64") -> tuple[Step, ...]:
    recipe, base = config.load_recipe(str(folder / "recipe.toml"), settings)
    return pipeline.plan(recipe, config.load_target(target), base)


def outline(plan: tuple[Step, ...]) -> list[dict[str, object]]:
    """The plan with steps numbered instead of keyed: keys hold the versions of installed tools."""
    number = {step.key: index for index, step in enumerate(plan)}
    return [{"step": number[step.key], "stage": step.stage, "needs": {role: number[need.key] for role, need in step.needs.items()}} for step in plan]


def changed(folder: Path, *settings: str, target: str = "android-arm64") -> list[str]:
    """The stages whose keys differ from the plain plan's."""
    before = {step.key for step in steps(folder)}
    return [step.stage for step in steps(folder, *settings, target=target) if step.key not in before]


def test_plan_is_the_golden_one_when_the_recipe_has_controls(folder: Path) -> None:
    assert outline(steps(folder, "controls=true")) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_each_step_comes_after_those_it_needs_when_planned(folder: Path) -> None:
    for entry in json.loads(GOLDEN.read_text(encoding="utf-8")):
        assert all(need < entry["step"] for need in entry["needs"].values())


def test_keys_are_the_same_when_planned_twice(folder: Path) -> None:
    assert changed(folder) == []


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("gates.retention=0.5", ["check", "pack"]),
        ("rounds.0.schedule.epochs=1", ["distil", "export", "quantize", "check", "pack"]),
        ("student.vocabulary=90", ["student", "distil", "export", "quantize", "check", "pack"]),
        ("teach.epochs=1", ["teach", "student", "export", "label", "distil", "export", "quantize", "check", "pack"]),
        ("teacher.dtype='bfloat16'", ["label", "distil", "export", "quantize", "check", "pack"]),
        ("controls=true", ["distil", "export", "check", "pack"]),
    ],
)
def test_only_what_depends_on_it_is_made_anew_when_a_key_changes(folder: Path, setting: str, stages: list[str]) -> None:
    assert changed(folder, setting) == stages


def test_everything_is_made_anew_when_the_seed_changes(folder: Path) -> None:
    assert len(changed(folder, "seed=8")) == len(steps(folder))


def test_nothing_is_trained_anew_when_the_target_changes(folder: Path) -> None:
    assert changed(folder, target="linux-arm64") == ["quantize", "check", "pack"]  # the same schemes, another budget
    assert changed(folder, target="linux-x64") == ["quantize", "check", "pack"]


def test_everything_is_made_anew_when_a_byte_of_the_data_changes(folder: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with (other / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("one more,neutral\n")
    before = {step.key for step in steps(folder)}
    assert not before & {step.key for step in steps(other)}


def test_rounds_chain_when_there_are_two(folder: Path, tmp_path: Path) -> None:
    text = RECIPE + "\n[[rounds]]\nlosses = { mse = {} }\n"
    head, gates = text.split("[gates]\nretention = 0.8\n")
    (folder / "two.toml").write_text(head + gates + "\n[gates]\nretention = 0.8\n", encoding="utf-8")
    recipe, base = config.load_recipe(str(folder / "two.toml"))
    plan = pipeline.plan(recipe, config.load_target("linux-x64"), base)
    first, second = [step for step in plan if step.stage == "distil"]
    assert second.needs["start"].key == first.key
    assert first.needs["start"].stage == "student"
    assert plan[-1].needs["export"].needs["model"].key == second.key


def test_every_step_is_made_anew_when_an_image_that_a_row_names_changes(folder: Path, tmp_path: Path) -> None:
    """The file of rows is the same; the picture behind a name in it is not."""
    (tmp_path / "teacher").symlink_to(folder / "teacher")
    (tmp_path / "rows.csv").write_text("image,label\na.png,x\nb.png,y\n", encoding="utf-8")
    lines = ('task = "image-classification"', "data.source = 'rows.csv'", "[teacher]", 'model = "teacher"', "[teach]", "[student]", "layers = [0]")
    (tmp_path / "recipe.toml").write_text("\n".join(lines) + "\n[[rounds]]\n[rounds.losses.ce]\n", encoding="utf-8")
    keys = []
    for picture in (b"first", b"first", b"second"):
        (tmp_path / "a.png").write_bytes(picture)
        (tmp_path / "b.png").write_bytes(b"other")
        keys.append([step.key for step in steps(tmp_path)])
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
