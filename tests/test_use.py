"""eval and predict on bundles whose model is made up: what is said of rows and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_cases import trained

from edgedistill.bundle import use
from edgedistill.bundle.reader import Bundle, Said
from edgedistill.errors import ConfigError, DataError
from edgedistill.faces import bundle as face
from edgedistill.spec import Data


def opened(folder: Path, task: str, labels: list[str], columns: dict[str, str]) -> Bundle:
    manifest = {"schema": "edgedistill.bundle/2", "task": task, "labels": labels, "columns": columns, "separator": ",", "metric": "score"}
    return Bundle(path=folder, manifest={**manifest, "encoder": {"max_length": 16}})


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "teacher_files", lambda bundle, store: None)
    monkeypatch.setattr(use, "say", lambda bundle, examples, *others, **options: Said(examples=examples, rows=[], outputs=[]))
    monkeypatch.setattr(use, "_score", lambda bundle, said, targets: 0.5)


@pytest.mark.usefixtures("scored")
def test_eval_names_ten_skipped_rows_and_counts_the_rest_when_texts_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = opened(tmp_path, "text-classification", ["bad", "good"], {"text": "text", "label": "label"})
    monkeypatch.setattr(face, "_open", lambda path: bundle)
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + ",good\n" * 12 + "fine,good\n" * 400, encoding="utf-8")
    face.evaluate(tmp_path, Data(source=str(file)), tmp_path, as_json=False)
    told = capsys.readouterr()
    assert told.out == "score 0.5000 on 400 rows\n"
    named = [line for line in told.err.splitlines() if "skipped" in line]
    assert [line.partition("rows.csv ")[2] for line in named[:10]] == [f"line {number}: empty text" for number in range(2, 12)]
    assert named[10:] == ["warning: eval: skipped 2 more rows"]


@pytest.mark.usefixtures("scored")
def test_eval_names_the_tag_and_its_word_when_the_file_has_another_tag_set(tmp_path: Path) -> None:
    bundle = opened(tmp_path, "token-classification", ["B-LOCATION", "B-PER", "O"], {"text": "words", "label": "tags"})
    file = tmp_path / "rows.jsonl"
    file.write_text('{"words": ["to", "Rome"], "tags": ["O", "B-LOC"]}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        use.evaluate(bundle, Data(source=str(file)), tmp_path, lambda done, total: None, print)
    (fault,) = caught.value.faults
    wanted = "tag 'B-LOC' of word 2, 'Rome', is no class of the bundle; did you mean 'B-LOCATION'? (known: B-LOCATION, B-PER, O)"
    assert fault.what == wanted


@pytest.mark.usefixtures("scored")
def test_eval_names_the_one_label_when_a_row_has_several(tmp_path: Path) -> None:
    bundle = opened(tmp_path, "multi-label-classification", ["art", "sport"], {"text": "text", "label": "labels"})
    file = tmp_path / "rows.csv"
    file.write_text('text,labels\nx,"art,sports"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"label 'sports' is no class of the bundle; did you mean 'sport'\?"):
        use.evaluate(bundle, Data(source=str(file)), tmp_path, lambda done, total: None, print)


@pytest.mark.usefixtures("scored")
def test_eval_names_the_column_it_read_when_a_number_has_a_comma(tmp_path: Path) -> None:
    bundle = opened(tmp_path, "text-regression", [], {"text": "text", "label": "preis"})
    file = tmp_path / "rows.csv"
    file.write_text("text;preis\na;14,71\nb;15,71\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2: '14,71' in column 'preis' has a comma"):
        use.evaluate(bundle, Data(source=str(file)), tmp_path, lambda done, total: None, print)


@pytest.fixture
def masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A masked language model that gives `a` the odds 3 : 1 over `b` at every mask."""
    tokenizer = trained("wordpiece")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    logits = np.full((2, tokenizer.get_vocab_size()), -100.0)
    logits[:, [tokenizer.token_to_id("a"), tokenizer.token_to_id("b")]] = np.log([3.0, 1.0])
    said: dict[str, Any] = {"rows": [], "outputs": [[logits]]}
    monkeypatch.setattr(use, "say", lambda bundle, examples: Said(examples=examples, **said))
    return opened(tmp_path, "masked-language-modeling", [], {"text": "text"})


def test_predict_gives_pieces_as_text_when_the_task_hides_some(
    masked: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = use.predict(masked, ["[MASK] or [MASK]"])
    first, second = answer["masks"]
    assert first == second
    assert first[:2] == [{"piece": "a", "probability": 0.75}, {"piece": "b", "probability": 0.25}]
    monkeypatch.setattr(face, "_open", lambda path: masked)
    face.predict(tmp_path, ["[MASK] or [MASK]"], as_json=False)
    places, text = capsys.readouterr().out.rstrip("\n").split("\t")
    assert [place.split(", ")[:2] for place in places.split(" | ")] == [["a 0.7500", "b 0.2500"]] * 2
    assert text == "[MASK] or [MASK]"


def test_predict_gives_one_line_of_fields_when_a_text_holds_lines_tabs_and_backslashes(
    masked: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face, "_open", lambda path: masked)
    face.predict(tmp_path, ["[MASK]\tor\n\\n"], as_json=False)
    assert capsys.readouterr().out.removesuffix("\n").split("\t")[1:] == [r"[MASK]\tor\n\\n"]
    face.predict(tmp_path, ["[MASK]\tor\n\\n"], as_json=True)
    assert json.loads(capsys.readouterr().out)["answers"][0]["text"] == "[MASK]\tor\n\\n"


def test_predict_names_each_input_when_some_are_no_text(masked: Bundle) -> None:
    deep = '{"text": ' * 100_000
    with pytest.raises(ConfigError) as caught:
        use.predict(masked, ["[MASK] caf\udce9", "[MASK] fine", '{"text": "[MASK] \\ud800"}', '{"text": "[MASK] \\udcc3\\udca9"}', deep])
    half = "half of a surrogate pair (\\ud800 to \\udfff alone), which is no character; write the character itself, in UTF-8"
    assert [(fault.where, fault.what) for fault in caught.value.faults[:3]] == [
        ("input 1", "not UTF-8: byte 0xe9 at offset 10; it reads as latin1"),
        ("input 3", half),
        ("input 4", half),  # escapes of bytes are not bytes
    ]
    assert caught.value.faults[0].hint.startswith("a file can be recoded: iconv -f latin1 -t utf-8 FILE |")
    assert caught.value.faults[3].where == "input 5"


def test_predict_reads_utf8_when_the_locale_gave_bytes(masked: Bundle) -> None:
    given = "[MASK] 日本".encode().decode("ascii", "surrogateescape")
    assert use.predict(masked, [given])[0]["text"] == "[MASK] 日本"


def test_predict_says_where_to_put_the_mask_when_a_text_has_none(masked: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"input 2: the text asks for nothing: put \[MASK\] where a word is wanted"):
        use.predict(masked, ["a [MASK]", "no question"])
