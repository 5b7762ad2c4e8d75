"""The nouns: what is asked for, what is made, what is measured. Frozen, typed, JSON-able.

pydantic checks them where files come in (`config.load_recipe`, `config.load_target`); here they are plain dataclasses, so that
reading them needs nothing but the standard library.
"""

from edgedistill.spec._noun import Noun, plain
from edgedistill.spec.made import Artifact, Inputs, Step
from edgedistill.spec.recipe import Augment, Data, Gates, Loss, Pretrain, Recipe, Round, Schedule, Student, Teacher, Transfer
from edgedistill.spec.report import Candidate, Curve, Measurement, Report, Rung, Subject, Verdict
from edgedistill.spec.target import Allowed, Budget, Check, Fact, FidelityLimits, Forbidden, Graph, Parity, Platform, Quantization, Runtime, Target

__all__ = [
    "Allowed",
    "Artifact",
    "Augment",
    "Budget",
    "Candidate",
    "Check",
    "Curve",
    "Data",
    "Fact",
    "FidelityLimits",
    "Forbidden",
    "Gates",
    "Graph",
    "Inputs",
    "Loss",
    "Measurement",
    "Noun",
    "Parity",
    "Platform",
    "Pretrain",
    "Quantization",
    "Recipe",
    "Report",
    "Round",
    "Rung",
    "Runtime",
    "Schedule",
    "Step",
    "Student",
    "Subject",
    "Target",
    "Teacher",
    "Transfer",
    "Verdict",
    "plain",
]
