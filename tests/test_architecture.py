"""The rooms' import arrows, the table of modalities and the Keras guard, held by reading the code and by running it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pipelines.cli import COMMANDS
from tfrecs.kinds.base import Feature
from tfrecs.modalities import MODALITIES, resolve
from towers.encoders.base import Encoder

REPO = Path(__file__).resolve().parent.parent
ROOMS = ("tfrecs", "towers", "serving", "pipelines")
ALLOWED = {
    "tfrecs": set(),
    "towers": {"tfrecs"},
    "serving": {"tfrecs", "tfrecs.schema"},  # the package's own __init__ is the Keras guard
    "pipelines": {"tfrecs", "towers", "serving"},
}


LAYERS = (
    ("config",),
    ("runs",),
    ("cluster",),
    ("building", "serving", "webapp"),
    ("inspection", "monitoring", "bulk_lists"),
    ("search", "item_item"),
    ("model",),
    ("scoring",),
    ("hybrid",),
    ("reporting",),
    ("evaluation",),
    ("exporting", "training"),
    ("tuning", "workflow"),
)
"""Packages of pipelines: each imports only packages of the rows above its own."""

MAX_FILES = 15  # Python files of one folder, without __init__.py and subfolders


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for room in ROOMS for path in sorted((REPO / room).rglob("*.py"))}


def imported_modules(path: Path, *, for_types: bool = True) -> set[str]:
    """Absolute names that a file imports, at any level of it; without `for_types` not those under TYPE_CHECKING."""
    modules = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def imported_files(module: str) -> set[str]:
    """Modules of the rooms that a module imports when it runs: of `from package import name` the submodule `name`."""
    names = imported_modules(FILES[module], for_types=False) & set(FILES)
    packages = {name for name in names if FILES[name].name == "__init__.py"}
    return {
        name
        for name in names
        if name != module and not (name in packages and any(other.startswith(f"{name}.") for other in names))
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_design_allows(room: str) -> None:
    wrong = []
    for path in sorted((REPO / room).rglob("*.py")):
        for module in imported_modules(path):
            top = module.split(".")[0]
            if top not in ROOMS or top == room:
                continue
            if top not in {name.split(".")[0] for name in ALLOWED[room]} or (
                room == "serving" and module != "tfrecs" and not module.startswith("tfrecs.schema")
            ):
                wrong.append(f"{path.relative_to(REPO)} imports {module}")
    assert not wrong, wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imported_files(module) for module in FILES}).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_the_packages_of_pipelines_import_only_packages_of_lower_layers() -> None:
    level = {package: row for row, packages in enumerate(LAYERS) for package in packages}
    folders = {path.name for path in (REPO / "pipelines").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(level), "a package without a layer, or a layer without a package"
    wrong = []
    for module in FILES:
        room, _, rest = module.partition(".")
        package = rest.partition(".")[0]
        if room != "pipelines" or package not in level:
            continue
        for imported in imported_files(module):
            room, _, rest = imported.partition(".")
            other = rest.partition(".")[0]
            if room == "pipelines" and other != package and level.get(other, 0) >= level[package]:
                wrong.append(f"{module} imports {imported}")
    assert not wrong, wrong


def test_evaluation_and_export_never_import_training() -> None:
    graph = {module: imported_files(module) for module in FILES}
    for package in ("evaluation", "exporting"):
        reached, left = set(), [module for module in graph if module.startswith(f"pipelines.{package}.")]
        while left:
            module = left.pop()
            if module not in reached:
                reached.add(module)
                left += graph[module]
        assert not {module for module in reached if module.startswith("pipelines.training")}


def test_every_module_at_the_top_of_pipelines_is_a_command_that_nothing_imports() -> None:
    top = {path.stem for path in (REPO / "pipelines").glob("*.py")} - {"__init__"}
    assert top == set(COMMANDS) - {"config"} | {"cli"}
    commands = {f"pipelines.{name}" for name in top} | {"pipelines.config.__main__"}
    others = (REPO / "benchmarks").rglob("*.py")
    wrong = [
        f"{path.relative_to(REPO)} imports {module}"
        for path in (*FILES.values(), *others)
        for module in imported_modules(path) & commands
    ]
    assert not wrong, wrong


def test_no_folder_holds_more_files_than_a_reader_can_survey() -> None:
    folders: dict[Path, int] = {}
    for path in (*FILES.values(), *(REPO / "benchmarks").rglob("*.py")):
        if path.name != "__init__.py":
            folders[path.parent] = folders.get(path.parent, 0) + 1
    folders[REPO / "pipelines"] -= len(COMMANDS)
    assert {str(path.relative_to(REPO)): count for path, count in folders.items() if count > MAX_FILES} == {}


def test_the_data_room_uses_no_keras() -> None:
    for path in sorted((REPO / "tfrecs").rglob("*.py")):
        assert not {m for m in imported_modules(path) if m.split(".")[0] in ("keras", "tf_keras", "keras_nlp")}, path
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "keras" not in attributes, path


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda row: row.kind)
def test_every_modality_row_names_a_feature_kind_and_an_encoder(modality) -> None:
    feature, encoder = resolve(modality.feature), resolve(modality.encoder)
    assert issubclass(feature, Feature)
    assert not inspect.isabstract(feature)
    assert feature.kind == modality.kind
    assert issubclass(encoder, Encoder)


@pytest.mark.parametrize(
    ("folder", "base"), [("tfrecs/kinds", Feature), ("towers", Encoder)], ids=["feature kinds", "encoders"]
)
def test_every_kind_and_encoder_in_the_code_has_a_row(folder: str, base: type) -> None:
    rows = {row.feature for row in MODALITIES} | {row.encoder for row in MODALITIES}
    for path in sorted((REPO / folder).glob("*.py")):
        module = ".".join(path.relative_to(REPO).with_suffix("").parts)
        namespace = __import__(module, fromlist=["_"])
        for name, value in vars(namespace).items():
            concrete = inspect.isclass(value) and issubclass(value, base) and value.__module__ == module
            if concrete and value is not base and name not in ("TextQueryEncoder",):
                assert f"{module}:{name}" in rows, f"{module}:{name} has no row in tfrecs/modalities.py"


def test_shared_code_never_names_a_modality() -> None:
    shared = ["tfrecs/reading/reader.py", "towers/fusion.py", "towers/item.py", "towers/user.py", "towers/two_tower.py"]
    shared += [
        "serving/graph/contract.py",
        "serving/graph/signatures.py",
        "serving/graph/selection.py",
        "serving/client/client.py",
    ]
    shared += [
        "pipelines/evaluation/evaluator.py",
        "pipelines/training/input_pipeline.py",
        "pipelines/model/request_encoder.py",
        "pipelines/scoring/model_scorer.py",
        "pipelines/exporting/serving_adapter.py",
    ]
    for name in shared:
        for node in ast.walk(ast.parse((REPO / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in ("image", "audio", "vector", "timbre"):
                pytest.fail(f"{name}:{node.lineno} names the modality {node.value!r}")


@pytest.mark.slow
def test_the_guard_sets_the_variable_before_tensorflow_is_imported() -> None:
    code = "import towers, tensorflow as tf; print(tf.keras.layers.Layer.__module__.split('.')[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == "tf_keras"


@pytest.mark.slow
def test_the_guard_stops_with_the_remedy_where_keras_3_is_already_there() -> None:
    code = "import os; os.environ.pop('TF_USE_LEGACY_KERAS', None); import tensorflow; import pipelines"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPO)
    assert done.returncode != 0
    assert "set TF_USE_LEGACY_KERAS=1" in done.stderr.strip().splitlines()[-1]
