"""What the base install leaves out: who needs such a package says which, and the smallest thing to install."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from edgedistill.errors import ConfigError

OPTIONAL: Mapping[str, str] = {  # module → the package that brings it
    "PIL": "pillow",
    "accelerate": "accelerate",
    "datasets": "datasets",
    "huggingface_hub": "huggingface-hub",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "neural_compressor": "neural-compressor[pt]",
    "onnx": "onnx",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "sympy": "sympy",
    "torch": "torch",
    "torchao": "torchao",
    "transformers": "transformers",
}
TRAINING = frozenset({"accelerate", "torch", "transformers"})  # who lacks one of these trains for the first time: everything is wanted
BUILD = "'edgedistill[build]'"
REPORT = ("jinja2", "matplotlib")


def need(what: str, *modules: str) -> None:
    """Raises ConfigError where one of the modules is not installed: what needs them, and the command that brings all that are missing."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise refusal(what, missing)


def load(module: str, what: str) -> ModuleType:
    """A module that the base install leaves out. Raises ConfigError saying what needs it where it cannot be imported."""
    try:
        return import_module(module)
    except ImportError as error:
        raise refusal(what, [module], "" if is_optional(error) else f" ({error})") from error


def refusal(what: str, modules: Iterable[str], why: str = "") -> ConfigError:
    """The error that says what needs which packages, with the command that installs these and no more, or all that training takes."""
    names = sorted({OPTIONAL.get(name, name) for name in (module.partition(".")[0] for module in modules)})
    *listed, last = [f"'{name.partition('[')[0]}'" for name in names]
    said = f"{', '.join(listed)} and {last}" if listed else last
    wanted = [BUILD] if TRAINING & set(names) else [f"'{name}'" if "[" in name else name for name in names]
    return ConfigError(f"{what} needs the package{'s' * (len(names) > 1)} {said}{why}", hint=f"pip install {' '.join(wanted)}")


def blamed(what: str, error: ImportError) -> ConfigError:
    """The error for an import that failed while something was done: of a package that is not here, or of one that is broken."""
    if is_optional(error):
        return refusal(what, [error.name or ""])
    return ConfigError(f"{what} cannot import what it needs: {error}", hint=f"pip install --upgrade {BUILD}")


def is_optional(error: ImportError) -> bool:
    """Whether an import failed because a package is not here that the base install leaves out."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OPTIONAL
