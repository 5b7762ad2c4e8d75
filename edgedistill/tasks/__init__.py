"""Tasks: what a data file's row is an example of, how it becomes a model's input, what the model's answer means and how well it did.

A task is one file without torch, because `predict` and `eval` run the same one. It has

    METRIC, HIGHER          the metric's name, and whether more of it is better
    AUTO_CLASS              the transformers class that answers it
    TRAINING_LOSS           what a backbone is fine-tuned with before it teaches: a loss's name
    COLUMNS                 role → the column that is read where the recipe names none; roles: text, pair, label
    UNLABELLED              the same for transfer rows; an empty one is taken only where the labelled rows have it
    OPTIONAL, RAW           roles that a row may leave empty, and roles whose characters are counted
    CLASSES, VOCABULARY     whether the labels are classes, and whether they are a vocabulary's pieces
    SHOWN, ANSWER           for the bundle's README: what `predict` is given, and what an app does with the output
    asked(text)             the example in what a user gives `predict`, as values by role

    example(values)         the example in a row's values by role: a JSON-able dict (bytes under `image`). ValueError where the row is wrong
    target(value, example, data)            what a label says, or ValueError
    identity(example)       what makes two examples the same one; `group(example)` what must not be torn apart by a split
    stratum(target)         what a split keeps in proportion, None where there is no such thing
    names(targets)          the classes in the order of the logits, [] where there are none
    number(target, names)   the target as JSON-able numbers

    FILES, load(folder)     what turns examples into rows (a tokenizer), and the files that hold it
    head(names)             options of the transformers model: how many outputs
    encode(encoder, examples, max_length)   the rows of each example: a list of lists of rows
    feeds(rows, pad_id)     the model's inputs for a batch of rows, [b, …]
    forward(model, inputs)  the one tensor that answers, `raw` [b, …]; it is what the graph gives
    picks(rows), pick(raw, picks)           indices, and by them the answers that count: [n, c]; on numpy arrays and tensors alike
    shape(row)              how many of those n answers are this row's, and how many of the c classes it has (None: all)
    labels(rows, target, names)             the hard labels of an example's answers [n] or [n, c]; target None: a row without a label

    evidence(outputs, rows, examples, targets, names)    what each example says about the metric, [examples, k]
    total(evidence)         the metric
    chance(rows, examples, targets, names)               the best answer that ignores its input, in words, and its evidence
    decisions(outputs, rows)                what each example was decided to be, an array each
    alike(ours, theirs)                     the share of each example on which two models' decisions agree, [examples]
    answers(outputs, rows, examples, names) what a person wants to read of each example

A task whose labels are classes has one more:

    respelled(target, spellings)            a target with the labels that its own mean, where a label may be written in several ways

A task whose answers are the encoder's own words has two more, which only `predict` calls:

    check(encoder, example, max_length)     ValueError where there is nothing to answer
    spelled(encoder, answer)                an answer of `answers` with the encoder's text for its numbers

A task that reads a long text in windows, and so cuts nothing off, says `WINDOWS = True`.

Outputs of an example are a list of arrays, one for each of its rows, each [answers, classes].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

NO_LABEL = -100  # the class number of an answer that has no hard label; the losses know it under the same name

Outputs = Sequence[Sequence[NDArray[Any]]]  # for each example, for each of its rows: [answers, classes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One input of a model that reads text: token ids, their types (0 or 1, none for a single text), and where its answers are.

    `at` and `until` are positions of tokens (a word's first and last), `words` the numbers of those words, `gold` the right answers where
    the row itself knows them.
    """

    ids: Sequence[int]
    types: Sequence[int] = ()
    at: Sequence[int] = ()
    until: Sequence[int] = ()
    words: Sequence[int] = ()
    gold: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.ids)
