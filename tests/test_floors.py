"""The house's floors, read from the source: who may import whom, and where the heavy libraries are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgedistill

ROOT = Path(edgedistill.__file__).parent
LEAVES = frozenset({"tasks", "data", "losses", "students", "exporters", "quantizers", "devices", "channels", "formats", "training"})
FLOORS = (
    frozenset({"errors", "spec"}),
    frozenset({"config", "checking", "plugins", "profiles", "schemes", "graphs", "cache", "characters", "files", "memory", "progress"})
    | frozenset({"packages", "providers", "ragged", "runtime", "samples", "streams", "surgery", "wording"}),
    LEAVES,
    frozenset({"search"}),
    frozenset({"stages"}),
    frozenset({"pipeline", "measure", "bundle", "foreign", "estimate"}),
    frozenset({"__init__", "__main__", "api", "cli", "faces", "init", "recipes"}),
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
HEAVY = frozenset({"torch", "transformers", "datasets", "onnx"})
MODULES = sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.rglob("*.py"))
assert len(MODULES) > 50


def source(module: str) -> ast.Module:
    return ast.parse((ROOT / Path(*module.split(".")).with_suffix(".py")).read_text(encoding="utf-8"))


def part_of(module: str) -> str:
    """The file or folder right below the package that a module belongs to."""
    return module.partition(".")[0]


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Every dotted name that is imported anywhere in the source, functions and type-checking blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["edgedistill", *module.split(".")][: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST, module: str) -> set[str]:
    """What a module imports from the package, without the package's own name; a name from the package itself is `__init__`."""
    found = set()
    for name in imports(tree, module):
        package, _, inner = name.partition(".")
        if package == "edgedistill":
            is_part = (ROOT / part_of(inner)).is_dir() or (ROOT / f"{part_of(inner)}.py").is_file()
            found.add(inner if inner and is_part else "__init__")
    return found


def forbidden(tree: ast.AST, module: str) -> list[str]:
    """The imports that go up, or sideways between leaf families."""
    part = part_of(module)
    return sorted(
        name
        for name in ours(tree, module)
        if FLOOR[part_of(name)] > FLOOR[part] or (part in LEAVES and part_of(name) in LEAVES and part_of(name) != part)
    )


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported; `if TYPE_CHECKING` does not."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level(node.orelse)
        else:
            yield node
            for inner in ("body", "orelse", "finalbody"):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from top_level(getattr(node, inner, []))


def heavy_at_import(module: str) -> set[str]:
    plain = ast.Module(body=[node for node in top_level(source(module).body) if isinstance(node, ast.Import | ast.ImportFrom)], type_ignores=[])
    return {name.partition(".")[0] for name in imports(plain, module)} & HEAVY


def test_floors_are_seven_and_disjoint_when_read_from_the_table() -> None:
    assert len(FLOORS) == 7
    assert sum(len(parts) for parts in FLOORS) == len(FLOOR)


def test_package_has_a_floor_for_every_part_when_listed() -> None:
    unknown = {part_of(module) for module in MODULES} - FLOOR.keys()
    assert not unknown, f"give {sorted(unknown)} a floor in tests/test_floors.py, and say in ARCHITECTURE.md why it is there"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_when_read_from_the_source(module: str) -> None:
    if part_of(module) not in FLOOR:
        pytest.fail(f"{module} has no floor")
    assert not forbidden(source(module), module), "pass it in as an argument, or move it to a lower floor"


def test_agent_imports_nothing_of_ours_when_it_runs_on_a_device() -> None:
    assert ours(source("measure.agent"), "measure.agent") == set()


def test_stages_do_not_call_each_other_when_they_share_only_tools() -> None:
    stages = [module for module in MODULES if module.startswith("stages.")]
    assert len(stages) >= 9
    for module in stages:
        others = {name.split(".")[1] for name in ours(source(module), module) if name.startswith("stages.")}
        tools = {name for name in others if name.startswith("_") or not (ROOT / "stages" / f"{name}.py").is_file()}
        assert others == tools, f"{module} imports the stage {sorted(others - tools)}"


def test_heavy_libraries_load_at_import_only_on_their_floor() -> None:
    heavy = {module for module in MODULES if heavy_at_import(module)}
    losses = {module for module in MODULES if module.startswith("losses.") and module != "losses.__init__"}
    assert len(losses) >= 3
    assert heavy == losses | {"training.fake_quantization", "training.loop", "stages._masked", "stages._teacher", "stages._terms", "stages._training"}


def test_faces_load_no_heavy_library_when_imported() -> None:
    parts = FLOORS[0] | FLOORS[1] | FLOORS[3] | FLOORS[5] | FLOORS[6]
    light = [module.removesuffix(".__init__") for module in MODULES if part_of(module) in parts and not module.startswith("__")]
    assert {"cli", "pipeline", "faces.build", "bundle.reader", "measure.run"} <= set(light)
    script = f"""
import sys
from importlib import import_module
for module in {light!r}:
    import_module("edgedistill." + module)
print(*sorted({set(HEAVY)!r} & sys.modules.keys()))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("cache", "from edgedistill.stages import prepare", ["stages.prepare"]),
        ("cache", "def f():\n    from edgedistill import pipeline", ["pipeline"]),
        ("cache", "import edgedistill", ["__init__"]),
        ("cache", "from edgedistill import build", ["__init__"]),
        ("losses.kl", "from edgedistill.tasks.text_classification import feeds", ["tasks.text_classification.feeds"]),
        ("losses.kl", "from .. import tasks", ["tasks"]),
        ("losses.kl", "class A:\n    def f(self):\n        import edgedistill.training.loop", ["training.loop"]),
        ("stages.distil", "if TYPE_CHECKING:\n    from edgedistill.measure import run", ["measure.run"]),
        ("losses.kl", "from edgedistill.losses import Batch\nfrom edgedistill import spec, plugins\nimport torch", []),
        ("faces.build", "from edgedistill import cli, stages, training", []),
    ],
)
def test_rule_finds_what_goes_up_or_sideways_when_planted(module: str, text: str, expected: list[str]) -> None:
    found = forbidden(ast.parse(text), module)
    assert [part_of(name) for name in found] == [part_of(name) for name in expected]
    assert all(name.startswith(wanted) for name, wanted in zip(found, expected, strict=True))
