"""Every task in the folder keeps the contract of edgedistill/tasks/__init__.py, and needs no torch to do it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_cases import VALUES, Case, case

from edgedistill import plugins, ragged
from edgedistill.losses import UNLABELLED
from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL

TASKS = plugins.names("tasks")
assert len(TASKS) >= 8
CONSTANTS = (
    "METRIC",
    "HIGHER",
    "AUTO_CLASS",
    "TRAINING_LOSS",
    "COLUMNS",
    "UNLABELLED",
    "OPTIONAL",
    "RAW",
    "CLASSES",
    "VOCABULARY",
    "SHOWN",
    "ANSWER",
    "FILES",
)
FUNCTIONS: dict[str, int] = {  # and how many arguments each is called with
    "asked": 1,
    "example": 1,
    "target": 3,
    "identity": 1,
    "group": 1,
    "stratum": 1,
    "names": 1,
    "number": 2,
    "load": 1,
    "head": 1,
    "encode": 3,
    "feeds": 2,
    "forward": 2,
    "picks": 1,
    "pick": 2,
    "shape": 1,
    "labels": 3,
    "evidence": 5,
    "total": 1,
    "chance": 4,
    "decisions": 2,
    "alike": 2,
    "answers": 4,
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("text", ["[" * 3000, '{"text": ' * 3000, '{"question": ' + "[" * 3000])
def test_answer_is_a_sentence_when_brackets_are_nested_without_end(name: str, text: str) -> None:
    """A text may be so; JSON may not, and is refused as any other that is none."""
    task = plugins.load("tasks", name)
    with suppress(ValueError):
        assert task.asked(text)
    with suppress(ValueError, KeyError):  # a task whose examples are not words has other words to be wrong about
        task.target(text, {"words": ["a"], "context": "a"}, Data(source="x"))


@pytest.fixture(params=TASKS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return case(request.param, tmp_path)


def test_list_of_examples_is_the_folders_when_compared() -> None:
    assert sorted(VALUES) == TASKS


@pytest.mark.parametrize("name", TASKS)
def test_contract_is_whole_when_a_task_is_loaded(name: str) -> None:
    task = plugins.load("tasks", name)
    assert [member for member in (*CONSTANTS, *FUNCTIONS) if not hasattr(task, member)] == []
    assert {member: len(signature(getattr(task, member)).parameters) for member in FUNCTIONS} == FUNCTIONS
    assert hasattr(task, "respelled") == task.CLASSES
    assert task.COLUMNS.keys() <= {"text", "pair", "image", "label"}
    assert {*task.OPTIONAL, *task.RAW} <= task.COLUMNS.keys()
    assert task.UNLABELLED.keys() <= {"text", "pair", "image"}
    assert plugins.exists("losses", task.TRAINING_LOSS)


@pytest.mark.parametrize("name", TASKS)
def test_auto_class_is_one_of_transformers_when_named(name: str) -> None:
    import transformers

    assert hasattr(transformers, plugins.load("tasks", name).AUTO_CLASS)


def test_unlabelled_is_one_number_when_the_losses_read_what_the_tasks_wrote() -> None:
    assert NO_LABEL == UNLABELLED


def test_no_heavy_library_is_loaded_when_tasks_encode_and_answer(tmp_path: Path) -> None:
    """Everything that `predict` and `eval` call, in a process where torch cannot be imported."""
    code = """
import sys
from contextlib import suppress
from pathlib import Path
for name in ("torch", "transformers", "datasets", "sklearn", "scipy", "onnx", "pyarrow"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
from task_cases import VALUES, case
for name in VALUES:
    made = case(name, Path(sys.argv[2]))
    evidence = made.task.evidence(made.outputs, made.rows, made.examples, made.targets, made.names)
    made.task.total(evidence)
    made.task.alike(made.task.decisions(made.outputs, made.rows), made.task.decisions(made.outputs, made.rows))
    assert len(made.task.answers(made.outputs, made.rows, made.examples, made.names)) == len(made.examples)
print(len(VALUES))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(TASKS)


def test_answers_are_the_same_when_picked_from_numpy_and_from_torch(made: Case) -> None:
    import torch

    picks = made.task.picks(made.flat)
    ours = made.task.pick(made.raw, picks)
    theirs = made.task.pick(torch.from_numpy(made.raw), {name: torch.from_numpy(value) for name, value in picks.items()})
    np.testing.assert_array_equal(theirs.numpy(), ours)


def test_shapes_and_labels_agree_when_counted(made: Case) -> None:
    """A label for each answer, and as many answers as `pick` gives."""
    counts = [sum(made.task.shape(row)[0] for row in rows) for rows in made.rows]
    for target in (False, True):
        labels = [made.task.labels(rows, value if target else None, made.names) for rows, value in zip(made.rows, made.targets, strict=True)]
        assert [len(one) for one in labels] == counts
    assert len(made.task.pick(made.raw, made.task.picks(made.flat))) == sum(counts)
    assert [sum(len(array) for array in arrays) for arrays in made.outputs] == counts


def test_teacher_alone_counts_when_a_row_has_no_label(made: Case) -> None:
    if made.task.METRIC == "perplexity":
        pytest.skip("a text is its own label")
    for rows in made.rows:
        labels = made.task.labels(rows, None, made.names)
        assert np.isnan(labels).all() if labels.dtype.kind == "f" else (labels == NO_LABEL).all()


def test_answers_of_a_row_do_not_depend_on_its_batch_when_cut(made: Case) -> None:
    """Fed alone, at its own length, a row gets the answers that it gets in a padded batch."""
    together = list(ragged.cut(made.task, made.raw, made.flat))
    for index, row in enumerate(made.flat):
        feeds = made.task.feeds([row], 0)
        own = made.raw[index : index + 1]
        alone = own[:, : feeds["input_ids"].shape[1]] if own.ndim == 3 else own
        (found,) = ragged.cut(made.task, alone, [row])
        np.testing.assert_array_equal(found, together[index])


def test_tokenizer_is_left_as_it_was_when_examples_were_encoded(made: Case) -> None:
    """What counts pieces or saves it next must not meet a length that one encoding asked for."""
    if hasattr(made.encoder, "truncation"):
        assert made.encoder.truncation is None
        assert made.encoder.padding is None


def test_evidence_and_decisions_are_one_an_example_when_made(made: Case) -> None:
    evidence = made.task.evidence(made.outputs, made.rows, made.examples, made.targets, made.names)
    assert (len(evidence), evidence.ndim, evidence.dtype) == (len(made.examples), 2, np.float64)
    assert np.isfinite(made.task.total(evidence))
    decisions = made.task.decisions(made.outputs, made.rows)
    assert len(decisions) == len(made.examples)
    np.testing.assert_allclose(made.task.alike(decisions, decisions), 1.0)


def test_documents_survive_when_written_as_json(made: Case) -> None:
    """Examples, targets and answers are kept in parquet and printed: both as JSON."""
    bare: list[dict[str, Any]] = [{key: value for key, value in one.items() if key != "image"} for one in made.examples]
    assert json.loads(json.dumps(bare)) == bare
    assert json.loads(json.dumps(made.targets)) == made.targets
    json.dumps(made.task.answers(made.outputs, made.rows, made.examples, made.names))


def test_identity_tells_examples_apart_when_they_differ(made: Case) -> None:
    different = {json.dumps(one, default=repr, sort_keys=True) for one in made.examples}
    assert len({made.task.identity(one) for one in made.examples}) == len(different)
