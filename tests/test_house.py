"""The house itself: arrows point downward, files stay small, nothing unsafe or heavy comes in by the door."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "pofx"
FILES = sorted(SRC.rglob("*.py"))
FLOORS = {
    0: ("errors", "version", "progress", "store", "field", "fields"),
    1: ("orders", "spec", "objectives", "transforms", "corrupt", "ans", "privacy"),
    2: ("nn",),
    3: ("codecs", "models", "metrics"),
    4: (
        "training",
        "compose",
        "tiles",
        "restore",
        "restore_video",
        "restore_audio",
        "posterior",
        "evaluate",
        "evaluate_images",
        "evaluate_photos",
        "evaluate_text",
        "evaluate_music",
        "evaluate_audio",
        "rebuilding",
    ),
    5: (
        "split",
        "report",
        "judging",
        "balance",
        "polish",
        "completion",
        "coding",
        "editing",
        "compression",
        "bundle",
        "fitted_by_label",
        "fitted_table",
        "spoiled",
        "fitted_images",
        "fitted_photos",
        "fitted_text",
        "fitted_music",
        "fitted_audio",
        "fitted_voices",
        "restoring",
        "opening",
        "going_on",
        "choosing",
        "private_fit",
        "learn",
        "tables",
        "checkup",
    ),
    6: (
        "",
        "sklearn",
        "cli",
        "cli_codes",
        "cli_fitting",
        "cli_places",
        "cli_polish",
        "cli_photos",
        "cli_text",
        "cli_audio",
        "cli_tables",
        "__main__",
    ),
}
FLOOR = {family: floor for floor, families in FLOORS.items() for family in families}
STRANGERS = 3
HEAVY = {"torch", "pandas", "polars", "pyarrow", "sklearn", "scipy", "matplotlib", "xgboost", "jinja2"}
LIMIT = 600
SECONDS = 0.5


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def targets(name: str, is_package: bool, tree: ast.AST) -> Iterator[str]:
    """The pofx modules that a module imports, wherever in it the import stands."""
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pofx")
        elif isinstance(node, ast.ImportFrom):
            home = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (home, node.module)))
            if base.split(".")[0] == "pofx":
                full = [f"{base}.{alias.name}" for alias in node.names]
                yield from (one if one in MODULES else base for one in full)


def family(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def broken(name: str, target: str) -> str | None:
    """What is wrong with an arrow from a module to a module, if anything."""
    here, there = family(name), family(target)
    if here == there:
        return None
    if FLOOR[there] > FLOOR[here]:
        return f"{name} (L{FLOOR[here]}) imports {target} (L{FLOOR[there]}): an arrow points only downward"
    if FLOOR[there] == FLOOR[here] == STRANGERS:
        return f"{name} imports {target}: codecs, models and metrics are strangers to one another"
    return None


def arrows() -> Iterator[tuple[str, str]]:
    for name, path in MODULES.items():
        for target in targets(name, path.stem == "__init__", ast.parse(path.read_text())):
            yield name, target


def test_every_room_has_a_floor() -> None:
    homeless = sorted({family(name) for name in MODULES} - set(FLOOR))
    assert not homeless, f"give these a floor in FLOORS: {homeless}"


def test_arrows_point_downward() -> None:
    found = [wrong for name, target in arrows() if (wrong := broken(name, target))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("pofx.metrics.shape", "def f():\n    from ..codecs import table", "pofx.codecs"),
        ("pofx.models.flows.any_order", "from ...codecs import table", "pofx.codecs"),
        ("pofx.field", "from pofx.spec import Spec", "pofx.spec"),
        ("pofx.spec", "if True:\n    import pofx.models", "pofx.models"),
        ("pofx.bundle", "from . import cli", "pofx"),
    ],
)
def test_the_arrow_test_sees_a_wrong_arrow(name: str, source: str, target: str) -> None:
    found = list(targets(name, False, ast.parse(source)))
    assert len(found) == 1
    assert found[0].startswith(target)
    assert broken(name, found[0])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("pofx.models.model", "from . import names"),
        ("pofx.models.flows.any_order", "from ..model import Model"),
        ("pofx.evaluate", "from . import models"),
        ("pofx.store", "from .errors import BadFile"),
        ("pofx.cli", "import pofx"),
    ],
)
def test_the_arrow_test_lets_a_right_arrow_pass(name: str, source: str) -> None:
    assert not any(broken(name, target) for target in targets(name, False, ast.parse(source)))


def test_sizes() -> None:
    sizes = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    for name, lines in sorted(sizes.items(), key=lambda pair: -pair[1]):
        print(f"{lines:5d}  {name}")
    print(f"{sum(sizes.values()):5d}  in {len(sizes)} files")
    assert not {name: lines for name, lines in sizes.items() if lines > LIMIT}


@pytest.mark.parametrize("name", MODULES)
def test_habits_of_a_file(name: str) -> None:
    path = MODULES[name]
    assert path.stem != "utils", "a helper lives beside its one caller, or on the floor that owns its idea"
    tree = ast.parse(path.read_text())
    private = any(part.startswith("_") and part != "__init__" for part in name.split("."))
    assert private or not tree.body or ast.get_docstring(tree), f"{name} has no docstring"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"{name}:{node.lineno}: an exception of errors.py instead of assert"
        unsafe = _unsafe(node)
        assert not unsafe, f"{name}:{node.lineno}: {unsafe} can run code from a file"


def _unsafe(node: ast.AST) -> str | None:
    bad = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    if isinstance(node, ast.Import):
        return next((a.name for a in node.names if a.name.split(".")[0] in bad), None)
    if isinstance(node, ast.ImportFrom) and not node.level:
        return node.module if (node.module or "").split(".")[0] in bad else None
    if isinstance(node, ast.Attribute):
        return dotted if (dotted := ast.unparse(node)) in ("torch.load", "torch.save", "yaml.load") else None
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        return "allow_pickle" if not (isinstance(node.value, ast.Constant) and node.value.value is False) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in ("eval", "exec") else None
    return None


@pytest.mark.parametrize(
    "source", ["import pickle", "from joblib import load", "torch.load(p)", "np.load(p, allow_pickle=True)", "eval(x)"]
)
def test_the_habits_test_sees_unsafe_loads(source: str) -> None:
    assert any(_unsafe(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize("source", ["import pofx", "import pofx.cli as c; c.main(['--help'])"], ids=["import", "help"])
def test_the_door_is_light(source: str) -> None:
    """CPU time of a fresh interpreter, its own start included, best of five; and what it loaded."""
    tail = "print(json.dumps([time.process_time(), sorted({m.split('.')[0] for m in sys.modules})]))"
    code = f"import json, sys, time\ntry:\n    {source}\nexcept SystemExit:\n    pass\n{tail}"
    env = os.environ | {"PYTHONPATH": str(SRC.parent)}
    seconds, loaded = [], set()
    for _ in range(5):
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        time, modules = json.loads(run.stdout.splitlines()[-1])
        seconds.append(time)
        loaded |= set(modules)
    assert not loaded & HEAVY
    assert min(seconds) < SECONDS
