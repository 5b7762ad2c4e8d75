"""The readers on open data sets: rows, labels and tokens as each set's PROVENANCE.md counts them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from edgedistill import data
from edgedistill.spec import Data, Transfer

ROOT = Path(os.environ.get("EDGEDISTILL_DATA") or Path(__file__).parents[2] / "shared" / "data")
EMOTIONS = ("text", "labels", "id")
PAIRS = ("sentence1", "sentence2", "score")
FILES: dict[str, tuple[int, tuple[str, ...]]] = {
    "banking77/train.csv.gz": (10_003, ()),
    "banking77/test.csv.gz": (3_080, ()),
    "snips/train.jsonl.gz": (13_784, ()),
    "snips/validate.jsonl.gz": (700, ()),
    "sst2/train.txt.gz": (6_920, ("label", "text")),
    "sst2/dev.txt.gz": (872, ("label", "text")),
    "sst2/test.txt.gz": (1_821, ("label", "text")),
    "goemotions/train.tsv.gz": (43_410, EMOTIONS),
    "goemotions/dev.tsv.gz": (5_426, EMOTIONS),
    "goemotions/test.tsv.gz": (5_427, EMOTIONS),
    "goemotions/labels.txt": (28, ()),
    "cad_nli/all_combined.train.tsv.gz": (8_330, ()),
    "cad_nli/all_combined.dev.tsv.gz": (1_000, ()),
    "cad_nli/all_combined.test.tsv.gz": (2_000, ()),
    "cad_nli/original.train.tsv.gz": (1_666, ()),
    "cad_nli/original.dev.tsv.gz": (200, ()),
    "cad_nli/original.test.tsv.gz": (400, ()),
    "stsb_en/train.csv.gz": (5_749, PAIRS),
    "stsb_en/dev.csv.gz": (1_500, PAIRS),
    "stsb_en/test.csv.gz": (1_379, PAIRS),
    "ud_ewt/en_ewt-ud-train.conllu.gz": (12_544, ()),
    "ud_ewt/en_ewt-ud-dev.conllu.gz": (2_001, ()),
    "ud_ewt/en_ewt-ud-test.conllu.gz": (2_077, ()),
    "uner_ewt/en_ewt-ud-dev.iob2.gz": (2_001, ()),
    "uner_ewt/en_ewt-ud-test.iob2.gz": (2_077, ()),
    "squadshifts/new_wiki_v1.0.json.gz": (7_938, ()),
    "squadshifts/amazon_reviews_v1.0.json.gz": (9_885, ()),
    "squadshifts/reddit_v1.0.json.gz": (9_803, ()),
    "tatoeba_ensv/swe.txt.gz": (25_286, ("en", "sv", "attribution")),
    "fashion_mnist/train-images-idx3-ubyte.gz": (60_000, ()),
    "fashion_mnist/t10k-images-idx3-ubyte.gz": (10_000, ()),
}
assert len({file.partition("/")[0] for file in FILES}) >= 10
pytestmark = pytest.mark.data


def place(file: str) -> Path:
    folder = ROOT / file.partition("/")[0]
    if not folder.is_dir():
        pytest.skip(f"the open data set {folder.name} is not in {ROOT}; EDGEDISTILL_DATA names the folder")
    return ROOT / file


def column(file: str, name: str) -> list[str]:
    return [record.values[name] for record in data.read(place(file), columns=FILES[file][1])]


def tokens(file: str, name: str) -> Counter[str]:
    return Counter(token for value in column(file, name) for token in json.loads(value))


@pytest.mark.parametrize("file", FILES)
def test_open_data_has_the_rows_it_documents(file: str) -> None:
    count, names = FILES[file]
    widths = Counter(len(record.values) for record in data.read(place(file), columns=names))
    assert list(widths.values()) == [count]


@pytest.mark.parametrize("name", ["cad_nli/all_combined.train.tsv.gz", "stsb_en/train.csv.gz"])
def test_pairs_have_no_empty_value_when_read_by_role(name: str) -> None:
    label = "gold_label" if name.startswith("cad") else "score"
    skipped: list[str] = []
    spec = Data(source="", columns=FILES[name][1])
    found = list(data.rows(place(name), spec, {"text": "sentence1", "pair": "sentence2", "label": label}, skipped))
    assert len(found) + len(skipped) == FILES[name][0]
    assert not skipped


def test_banking77_labels_are_those_it_lists() -> None:
    folder = place("banking77/train.csv.gz").parent
    labels = {label for _, _, label in data.labelled(folder / "train.csv.gz", Data(source="", label="category"))}
    assert labels == set(json.loads((folder / "categories.json").read_text()))


def test_sst2_labels_are_as_many_as_documented() -> None:
    spec = Data(source="", columns=("label", "text"))
    assert Counter(label for _, _, label in data.labelled(place("sst2/train.txt.gz"), spec)) == {"1": 3_610, "0": 3_310}


def test_goemotions_rows_have_one_label_as_often_as_documented() -> None:
    labels = column("goemotions/train.tsv.gz", "labels")
    assert sum("," not in label for label in labels) == 36_308
    assert {int(number) for label in labels for number in label.split(",")} == set(range(28))


def test_cad_nli_labels_and_quotes_are_those_documented() -> None:
    assert Counter(column("cad_nli/all_combined.train.tsv.gz", "gold_label")) == {"neutral": 2_778, "entailment": 2_770, "contradiction": 2_782}
    assert 'A boy stands outside of "TheFaceShop" looking' in column("cad_nli/original.train.tsv.gz", "sentence1")[55]


def test_ud_words_are_as_many_as_documented() -> None:
    assert tokens("ud_ewt/en_ewt-ud-train.conllu.gz", "form").total() == 204_577
    tags = tokens("ud_ewt/en_ewt-ud-dev.conllu.gz", "upos")
    assert (tags.total(), len(tags)) == (25_147, 17)


def test_uner_tags_are_as_many_as_documented() -> None:
    documented = {"O": 23_653, "B-LOC": 399, "I-LOC": 148, "B-ORG": 224, "I-ORG": 186, "B-PER": 343, "I-PER": 196}
    assert tokens("uner_ewt/en_ewt-ud-dev.iob2.gz", "tags") == documented
    assert tokens("uner_ewt/en_ewt-ud-dev.iob2.gz", "words").total() == 25_149


def test_snips_slots_are_of_as_many_types_as_documented() -> None:
    slots = column("snips/train.jsonl.gz", "slots")
    assert len({kind for value in slots for _, _, kind in json.loads(value)}) == 39


def test_squadshifts_answers_stand_where_they_say() -> None:
    for record in data.read(place("squadshifts/new_wiki_v1.0.json.gz")):
        answers = json.loads(record.values["answers"])
        assert answers
        assert all(record.values["context"].startswith(answer["text"], answer["answer_start"]) for answer in answers)


def test_fashion_mnist_classes_are_even() -> None:
    assert Counter(column("fashion_mnist/t10k-images-idx3-ubyte.gz", "label")) == {str(label): 1_000 for label in range(10)}


@pytest.mark.parametrize("name", ["lm_gutenberg/austen-emma.txt.gz", "lm_tinyshakespeare/input.txt.gz", "lm_wikitext2_eval/test.txt.gz"])
def test_plain_text_streams_as_a_transfer_source(name: str) -> None:
    assert sum(1 for _ in data.unlabelled(place(name), Transfer(source=""))) > 1_000
