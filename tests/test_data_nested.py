"""CoNLL and SQuAD: a row for each sentence and each question, and the fault named where one is not sound."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from edgedistill import data
from edgedistill.errors import DataError
from edgedistill.spec import Data


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def read(path: Path, *columns: str) -> list[tuple[int, dict[str, str]]]:
    return [(record.line, dict(record.values)) for record in data.read(path, columns=columns)]


def faults(path: Path, *columns: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(path, *columns)
    return [f"{fault.where.removeprefix(str(path))} | {fault.what} | {fault.hint}" for fault in caught.value.faults]


def lists(path: Path, *columns: str) -> list[tuple[int, dict[str, list[str]]]]:
    return [(line, {name: json.loads(value) for name, value in values.items()}) for line, values in read(path, *columns)]


# ── CoNLL ──

CONLLU = """# sent_id = 1
# text = I don't.
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t2:x\t_
4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

# sent_id = 2
1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\t_
"""


@pytest.mark.parametrize("suffix", [".conllu", ".conllu.gz"])
def test_conllu_gives_words_only_when_spans_and_empty_nodes_stand_between(tmp_path: Path, suffix: str) -> None:
    found = lists(write(tmp_path / f"a{suffix}", CONLLU))
    assert [line for line, _ in found] == [3, 11]
    assert found[0][1]["form"] == ["I", "do", "n't", "."]
    assert found[0][1]["upos"] == ["PRON", "AUX", "PART", "PUNCT"]
    assert found[1][1]["form"] == ["New York"]
    assert " ".join(found[0][1]) == "id form lemma upos xpos feats head deprel deps misc"


def test_conll_reads_the_2003_file_when_blanks_part_it(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n-DOCSTART- -X- O O\n\n# sent = 2\n#x NN I-NP O\n# # I-NP O"
    file = write(tmp_path / "a.conll", content)
    assert lists(file) == [(3, {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]}), (10, {"words": ["#x", "#"], "tags": ["O", "O"]})]
    assert lists(file, "form", "pos", "chunk", "ner")[0] == (
        3,
        {"form": ["EU", "rejects"], "pos": ["NNP", "VBZ"], "chunk": ["B-NP", "B-VP"], "ner": ["B-ORG", "O"]},
    )


def test_conll_tells_a_hashtag_from_a_comment(tmp_path: Path) -> None:
    tabs = write(tmp_path / "a.bio", "# a remark\n#1\tB-X\n#\tO\nis\tO\n\n# text = it is\nit\tO\n")
    assert lists(tabs) == [(2, {"words": ["#1", "#", "is"], "tags": ["B-X", "O", "O"]}), (7, {"words": ["it"], "tags": ["O"]})]
    blanks = write(tmp_path / "b.conll", "# remark\n#win B-X\n# O\nis O\n")
    assert lists(blanks) == [(2, {"words": ["#win", "#", "is"], "tags": ["B-X", "O", "O"]})]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.iob2", "1\tNew\tB-LOC\t-\tann\n2\tYork\tI-LOC\t-\tann\n", {"words": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}),
        ("a.iob2", "New\tB-LOC\nYork\tI-LOC\n", {"words": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}),
        ("a.conll", "1\tNew\tx\tB-LOC\n2\tYork\tx\tI-LOC\n", {"words": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}),
        ("a.bio", "1 O\n2 O\n", {"words": ["1", "2"], "tags": ["O", "O"]}),
        ("a.conll", "alone\nwords\n", {"words": ["alone", "words"]}),
        ("a.conll", "a word\tO\n \tO\n", {"words": ["a word", " "], "tags": ["O", "O"]}),
    ],
)
def test_conll_finds_words_and_tags_when_nothing_names_them(tmp_path: Path, name: str, content: str, expected: dict[str, list[str]]) -> None:
    assert lists(write(tmp_path / name, content)) == [(1, expected)]


def test_conll_names_every_line_when_columns_differ(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "a.conll", "a O\nb\nc O\n\nd O\n\ne O O\nf O\n"))
    assert [fault.split(" | ")[:2] for fault in found] == [
        [" line 2", "1 columns where most lines have 2"],
        [" line 7", "3 columns where most lines have 2"],
    ]
    assert "10" in faults(write(tmp_path / "a.conllu", "1\ta\tX\n"))[0]
    assert len(faults(write(tmp_path / "b.conllu", "1\ta\tX\n" * 20))) == 10


def test_conll_names_line_when_not_utf8(tmp_path: Path) -> None:
    assert " line 2 | not UTF-8" in faults(write(tmp_path / "a.conll", b"a O\n\xe9 O\n"))[0]


# ── SQuAD ──

CONTEXT = " Ada wrote it in 1843. "


def squad(*questions: dict[str, object], **extra: object) -> str:
    article = {"title": "Ada", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}
    return json.dumps({"version": "v2.0", **extra, "data": [article]}, indent=2)


def asked(name: str, *answers: tuple[str, int], **extra: object) -> dict[str, object]:
    return {"id": name, "question": "when?", "answers": [{"text": text, "answer_start": start} for text, start in answers], **extra}


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_squad_gives_a_row_for_each_question_when_some_have_no_answer(tmp_path: Path, suffix: str) -> None:
    no_answer = asked("c", is_impossible=True, plausible_answers=[{"text": "1843", "answer_start": 17}])
    hidden = {"id": "d", "question": "where?"}
    file = write(tmp_path / f"a{suffix}", squad(asked("a", ("1843", 17), ("in 1843", 14)), asked("b"), no_answer, hidden))
    found = list(data.read(file))
    assert [record.line for record in found] == [1, 2, 3, 4]
    assert found[0].values == {
        "id": "a",
        "title": "Ada",
        "context": CONTEXT,
        "question": "when?",
        "answers": '[{"text": "1843", "answer_start": 17}, {"text": "in 1843", "answer_start": 14}]',
    }
    assert [record.values["answers"] for record in found[1:]] == ["[]"] * 3
    assert len(list(data.rows(file, Data(source="a"), {"text": "context", "pair": "question", "label": "answers"}))) == 4


def test_squad_names_question_and_article_when_an_offset_is_wrong(tmp_path: Path) -> None:
    listed = asked("e") | {"answers": {"text": ["Ada"]}}
    wrong = [asked("b", ("1843", 17), ("Ada", 0)), asked("c", ("Eve", 3)), asked("d", ("Ada", -22)), listed]
    found = faults(write(tmp_path / "a.json", squad(asked("a", ("1843", 17)), *wrong)))
    assert [fault.split(" | ")[0] for fault in found] == [" question 2", " question 3", " question 4", " question 5"]
    assert "id 'b', article 'Ada': the answer 'Ada' is not at 0, where ' Ad' stands; it stands at 1" in found[0]
    assert "it is nowhere in the context" in found[1]
    assert "`answers` is no list" in found[3]
    assert "a whole number `answer_start`" in faults(write(tmp_path / "c.json", squad(asked("a", ("Ada", True)))))[0]
    assert len(faults(write(tmp_path / "b.json", squad(*[asked("a", ("x", 1))] * 30)))) == 10


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ('{"data": [{"title": "x"}]}', " article 1", "no list `paragraphs`"),
        ('{"data": [{"paragraphs": []}, {"paragraphs": [{"context": "x"}]}]}', " article 2", "paragraph 1 has no list `qas`"),
        ('{"data": [\n{"paragraphs": [}]}', " line 2", "broken JSON"),
        ('{"data": []}', "", "no rows"),
        (squad({"question": "who?", "answers": []}), " question 1", "no `id`"),
    ],
)
def test_squad_says_where_when_it_is_not_sound(tmp_path: Path, content: str, where: str, what: str) -> None:
    found = faults(write(tmp_path / "a.json", content))
    assert found[0].startswith(f"{where} | ")
    assert what in found[0]


def test_json_stays_lines_or_a_list_when_it_has_no_articles(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.json", '{"a": 1, "data": 2}\n{"a": 2, "data": 3}\n'))[1] == (2, {"a": "2", "data": "3"})
    assert read(write(tmp_path / "b.json", '[{"data": [{"a": 1}]}]')) == [(1, {"data": '[{"a": 1}]'})]
    assert read(write(tmp_path / "c.json", squad(asked("a"), note="x", n=1, ok=None)))[0][1]["id"] == "a"
    assert read(write(tmp_path / "d.json", squad(asked("a") | {"id": 7}, about={"by": ["me"]})))[0][1]["id"] == "7"
