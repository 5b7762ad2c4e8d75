"""Recipes at the border: layers, and every fault with its path and the nearest name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgedistill import plugins
from edgedistill.config import load_recipe
from edgedistill.errors import ConfigError
from edgedistill.spec import Loss

SMALL = """
data = { source = "rows.csv" }
teacher = { model = "teacher" }
"""
RECIPES = plugins.data_files("recipes")
assert len(RECIPES) >= 1


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return written(tmp_path, SMALL)


def written(folder: Path, text: str | bytes, name: str = "mine.toml") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def faults_of(file: Path, *settings: str) -> dict[str, tuple[str, str]]:
    """The faults of a recipe: dotted path → (what, hint)."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(file), settings)
    assert caught.value.exit_code == 2
    assert all(str(fault) in str(caught.value) or len(caught.value.faults) == 1 for fault in caught.value.faults)
    return {fault.where.rpartition(": ")[2]: (fault.what, fault.hint) for fault in caught.value.faults}


# ── what loads ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", RECIPES)
def test_builtin_recipe_loads_when_named(name: str) -> None:
    recipe, base = load_recipe(name)
    assert recipe.name == name
    assert base == RECIPES[name].parent.resolve()
    written_down = tomllib.loads(RECIPES[name].read_text(encoding="utf-8"))
    assert recipe.task == written_down["task"]
    assert len(recipe.rounds) == len(written_down["rounds"])


def test_default_recipe_holds_what_its_file_says_when_loaded() -> None:
    recipe, _ = load_recipe("default")
    assert recipe.student.layers == (0, 1, 2)
    assert recipe.rounds[0].losses == {"mse": Loss(weight=0.9), "ce": Loss(weight=0.1)}
    assert recipe.data.where == {"source": "rotten_tomatoes"}


def test_recipe_is_the_one_at_hand_when_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(None)[0].name == "default"
    written(tmp_path, SMALL, "recipe.toml")
    recipe, base = load_recipe(None)
    assert (recipe.name, base) == ("recipe", tmp_path.resolve())


def test_recipe_needs_only_data_and_teacher_when_defaults_do(recipe: Path) -> None:
    loaded, base = load_recipe(str(recipe))
    assert (loaded.name, loaded.task, loaded.student.layers, base) == ("mine", "text-classification", 3, recipe.parent.resolve())


@pytest.mark.parametrize(
    ("setting", "path", "expected"),
    [
        ("rounds.0.schedule.epochs=1", "rounds.0.schedule.epochs", 1.0),
        ("rounds.0.losses.mse.weight=0.25", "rounds.0.losses.mse.weight", 0.25),
        ("student.layers=[0, 2]", "student.layers", (0, 2)),
        ("student.layers=2", "student.layers", 2),
        ('data.source="a=b.csv"', "data.source", "a=b.csv"),
        ("data.source=hub:me/rows@main", "data.source", "hub:me/rows@main"),  # a bare word: shells eat quotes
        ("data.where.lang=de", "data.where", {"source": "rotten_tomatoes", "lang": "de"}),
        ("data.where={ lang = 'de' }", "data.where", {"lang": "de"}),
        ("controls=true", "controls", True),
        ("data.test=0.5", "data.test", 0.5),
        ("data.test=test.csv", "data.test", "test.csv"),
        ("student.config.hidden_size=64", "student.config", {"hidden_size": 64}),
    ],
)
def test_set_wins_over_the_recipe_when_it_names_a_place(setting: str, path: str, expected: Any) -> None:
    value: Any = load_recipe("default", [setting])[0]
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part] if isinstance(value, dict) else getattr(value, part)
    assert value == expected
    assert type(value) is type(expected)


def test_later_set_wins_and_others_stay_when_there_are_two() -> None:
    recipe, _ = load_recipe("default", ["seed=4", "rounds.0.schedule.epochs=1", "seed=5"])
    before, _ = load_recipe("default")
    assert (recipe.seed, recipe.rounds[0].schedule.epochs) == (5, 1.0)
    assert recipe.rounds[0].schedule.batch_size == before.rounds[0].schedule.batch_size == 64


# ── what does not ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_key_names_the_nearest_when_misspelt(recipe: Path) -> None:
    what, hint = faults_of(recipe, "student.vocabluary=100")["student.vocabluary"]
    assert what == "unknown key"
    assert hint.startswith(
        "did you mean 'vocabulary'? (known: config, depth, embedding, heads, intermediate, layers, method, model, vocabulary, width)"
    )


def test_unknown_key_names_the_nearest_when_inside_a_list(recipe: Path) -> None:
    recipe.write_text(SMALL + "[[rounds]]\nschedule = { epoch = 2 }\n")
    what, hint = faults_of(recipe)["rounds.0.schedule.epoch"]
    assert what == "unknown key"
    assert hint.startswith("did you mean 'epochs'?")


def test_all_faults_are_listed_with_their_paths_when_there_are_three(recipe: Path) -> None:
    found = faults_of(recipe, "sede=1", "data.max_length=long", "rounds=[{ schedule = { epochs = [1] } }]")
    assert found.keys() == {"sede", "data.max_length", "rounds.0.schedule.epochs"}
    assert "seed" in found["sede"][1]
    assert "'long'" in found["data.max_length"][0]


def test_all_faults_are_listed_when_three_values_are_out_of_bounds(recipe: Path) -> None:
    found = faults_of(recipe, "task=text-clasification", "student.method=layer", "gates.retention=3", "rounds=[]")
    assert found.keys() == {"task", "student.method", "gates.retention", "rounds"}
    assert found["task"][1].startswith("did you mean 'text-classification'?")
    assert found["student.method"][1].startswith("did you mean 'layers'?")


def test_missing_keys_are_named_when_the_recipe_is_empty(tmp_path: Path) -> None:
    found = faults_of(written(tmp_path, ""))
    assert found == {"data": ("is missing", ""), "teacher": ("is missing", "")}


def test_unknown_loss_names_the_nearest_when_misspelt(recipe: Path) -> None:
    what, hint = faults_of(recipe, "rounds=[{ losses = { mse = {}, kll = {} } }]")["rounds.0.losses.kll"]
    assert (what, hint) == ("unknown loss", f"did you mean 'kl'? (known: {', '.join(plugins.names('losses'))})")


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("seed=1.5", "seed"),
        ("seed=x", "seed"),
        ("data.source=3", "data.source"),
        ("student.layers=[0, 'x']", "student.layers.1"),
        ("student=3", "student"),
        ("rounds=3", "rounds"),
        ("teach={ epochs = 'many' }", "teach.epochs"),
        ("data.where={ a = 1 }", "data.where.a"),
        ("controls=[]", "controls"),
    ],
)
def test_type_is_a_fault_when_wrong(recipe: Path, setting: str, path: str) -> None:
    assert path in faults_of(recipe, setting)


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("rounds=[{ schedule = { epochs = 0 } }]", "rounds.0.schedule.epochs"),
        ("rounds=[{}, { schedule = { batch_size = -1 } }]", "rounds.1.schedule.batch_size"),
        ("rounds=[{ schedule = { warmup = 1.0 } }]", "rounds.0.schedule.warmup"),
        ("rounds=[{ losses = {} }]", "rounds.0.losses"),
        ("rounds=[{ losses = { kl = { weight = 0 } } }]", "rounds.0.losses.kl.weight"),
        ("rounds=[{ losses = { kl = { temperature = -2 } } }]", "rounds.0.losses.kl.temperature"),
        ("teach={ dropout = -0.1 }", "teach.dropout"),
        ("data.test=1.5", "data.test"),
        ("data.validation=0", "data.validation"),
        ("data.max_length=3", "data.max_length"),
        ("data.calibration=0", "data.calibration"),
        ("transfer={ source = 'x', rows = 0 }", "transfer.rows"),
        ("transfer={ source = 'x', min_words = 9, max_words = 8 }", "transfer.min_words"),
        ("gates.retention=0", "gates.retention"),
    ],
)
def test_bound_is_a_fault_when_crossed(recipe: Path, setting: str, path: str) -> None:
    assert faults_of(recipe, setting).keys() == {path}


@pytest.mark.parametrize(("setting", "words"), [("seed", "expected a.b=value"), ("rounds.7.schedule.epochs=1", "'7' is no place in a list")])
def test_set_is_a_fault_when_it_leads_nowhere(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe("default", [setting])
    assert f"--set {setting}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"seed = = 1", "not valid TOML"),
        (b"# caf\xe9", r"not UTF-8 text \(byte 5\)"),
        (b"x = " + b"[" * 3000, "not valid TOML: more than 32 tables and lists in each other"),
        (b"x = " + b"[" * 33 + b"]" * 33, "not valid TOML: more than 32"),
        (b"a." * 2000 + b"b = 1", "not valid TOML: more than 32"),
    ],
)
def test_file_is_a_fault_when_it_is_no_toml_in_utf8(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe(str(written(tmp_path, content)))
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(("which", "words"), [("no/such.toml", "no recipe file at"), ("defalt", "did you mean 'default'")])
def test_recipe_is_a_fault_when_it_is_not_there(which: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(which)


@pytest.mark.parametrize(("setting", "expected"), [("student.layers.0=1", (1, 1, 2)), ("student.layers.2=5", (0, 1, 5))])
def test_set_changes_an_item_when_it_is_the_last_name(setting: str, expected: tuple[int, ...]) -> None:
    assert load_recipe("default", [setting])[0].student.layers == expected


@pytest.mark.parametrize("setting", ["rounds.0.schedule.learning_rate=nan", "rounds.0.losses.mse.weight=nan", "rounds.0.schedule.epochs=inf"])
def test_number_is_a_fault_when_not_finite(setting: str) -> None:
    with pytest.raises(ConfigError):
        load_recipe("default", [setting])


@pytest.mark.parametrize("setting", ["seed=true", "student.layers=true", "controls='yes'", "seed='7'"])
def test_type_is_a_fault_when_only_loosely_right(setting: str) -> None:
    with pytest.raises(ConfigError):
        load_recipe("default", [setting])


def test_all_faults_are_listed_when_some_are_types_and_some_bounds(recipe: Path) -> None:
    assert faults_of(recipe, "sede=1", "task=nonsense", "gates.retention=3").keys() == {"sede", "task", "gates.retention"}
