"""The shape of the code: who may import what, how large a thing may be, what is said nowhere. Read from syntax trees, without torch.

A violation is told as `file:line: rule`. The remedy for a full room is a new noun, not a higher number.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("components", "infra", "pipelines")

# Third-party packages by the part of the tree that may import them; the first prefix that fits a file adds to those of shorter ones.
OUTSIDE = {
    "components/": {"fsspec", "numpy", "safetensors", "torch"},
    "components/analysis/": {"scipy", "sklearn"},
    "components/data/": {"PIL", "pyarrow", "sklearn", "torchvision", "webdataset"},
    "components/figures/": {"matplotlib"},
    "components/models/": {"timm"},
    "components/models/openclip.py": {"open_clip"},
    "components/models/tokenizer.py": {"ftfy", "regex"},  # what CLIP's own tokenizer cleans and splits text with
    "components/predictors/": {"scipy", "sklearn"},
    "components/updates/dp_sgd.py": {"opacus"},
    "infra/": {"fsspec", "infra"},
    "infra/backends/cluster/": {"optuna", "ray", "yaml"},
    "infra/store/answer.py": {"aiohttp", "botocore"},
    "infra/store/http.py": {"aiohttp"},
    "infra/store/s3.py": {"s3fs"},
    "infra/tracking/": {"mlflow", "sqlalchemy"},
    "pipelines/": {"components", "fsspec", "infra", "jsonargparse", "numpy", "rich", "yaml"},
    "pipelines/report/": {"matplotlib"},
}
# components, leftmost first: each from anything to its right, never from a neighbour in its group.
ORDER = [
    {"merge", "analysis"}, {"train"}, {"evaluate"}, {"objectives", "updates", "predictors"}, {"models", "data"},
    {"metrics"}, {"predictions"}, {"weights"}, {"types"},
]  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
HEAVY = ("torch", "open_clip", "torchvision", "timm", "sklearn", "matplotlib", "optuna", "ray", "mlflow")
DRAWERS = {"utils", "util", "common", "misc", "helpers", "helper", "legacy"}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ENVIRONMENT = {"infra/settings.py", "infra/deploy/environment.py"}  # the latter runs before anything is installed
LINES = {"file": 300, "function": 50, "components/train.py:train": 120, "study": 60}
PARAMETERS = 8
UNSAID = re.compile(r"/{}/|\.\./{}|{}\.org|{}hosted|{}js|\bissue #?\d".format("work", "shared", "pypi", "python", "npm"))


@dataclass(frozen=True)
class Module:
    """A source file: its path below the root and its syntax tree."""

    root: Path
    path: str

    @cached_property
    def text(self) -> str:
        return (self.root / self.path).read_text()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, self.path)))

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def parts(self) -> list[str]:
        return self.name.split(".")

    def imports(self, names: set[str] | None = None) -> Iterator[tuple[int, str, bool]]:
        """(line, module, whether only for the type checker); with our modules' `names`, `from a.b import c` is a.b.c where that is one."""
        checked = {
            id(inner)
            for node in self.nodes
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for part in node.body
            for inner in ast.walk(part)
        }
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name, id(node) in checked) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = self.parts if self.path.endswith("__init__.py") else self.parts[:-1]
                    base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    yield node.lineno, whole if names and whole in names else base, id(node) in checked


def modules(root: Path) -> list[Module]:
    return [Module(root, str(path.relative_to(root))) for room in ROOMS for path in sorted((root / room).rglob("*.py"))]


def outside(tree: list[Module]) -> Iterator[str]:
    """Each room imports only what it is for."""
    for module in tree:
        allowed = {module.parts[0]}.union(*(names for prefix, names in OUTSIDE.items() if module.path.startswith(prefix)))
        for line, name, _ in module.imports():
            top = name.split(".")[0]
            if top not in allowed and top not in sys.stdlib_module_names:
                yield f"{module.path}:{line}: {top} is not imported here"


def order(tree: list[Module]) -> Iterator[str]:
    """Inside components, imports go to the right and never to a neighbour; figures know only types."""
    for module in tree:
        here = module.parts[1] if module.parts[0] == "components" and len(module.parts) > 1 else ""
        for line, name, _ in module.imports({other.name for other in tree}) if here else ():
            there = name.split(".")[1] if name.startswith("components.") else here
            if here not in RANK and here != "figures":
                yield f"{module.path}:{line}: components/{here} is not a room"
            elif there != here and (there != "types" if here == "figures" else RANK.get(there, -1) <= RANK[here]):
                yield f"{module.path}:{line}: components.{here} does not import components.{there}"


def cycles(tree: list[Module]) -> Iterator[str]:
    """No module imports itself through others, at any depth of any function."""
    names = {module.name for module in tree}
    paths = {module.name: module.path for module in tree}
    edges = {m.name: {n: line for line, n, typing in m.imports(names) if n in names and not typing} for m in tree}
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> Iterator[str]:
        if name in trail:
            loop = [*trail[trail.index(name) :], name]
            yield f"{paths[loop[-2]]}:{edges[loop[-2]][name]}: an import cycle: {' -> '.join(loop)}"
        elif name not in done:
            for target in edges[name]:
                yield from walk(target, [*trail, name])
            done.add(name)

    for name in sorted(edges):
        yield from walk(name, [])


def unique(tree: list[Module]) -> Iterator[str]:
    """A component's name is its identity in the store: `@revision` marks no two things of one name."""
    seen: dict[str, str] = {}
    for module in tree:
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and any("revision(" in ast.unparse(mark) for mark in node.decorator_list):
                place = f"{module.path}:{node.lineno}"
                if node.name in seen:
                    yield f"{place}: {node.name} is also the name of {seen[node.name]}"
                seen.setdefault(node.name, place)


def budgets(tree: list[Module]) -> Iterator[str]:
    """Lines of files, functions and studies, and parameters of functions; `run`, `self` and `cls` are not counted."""
    for module in tree:
        study = len(module.parts) == 2 and any(
            isinstance(node, ast.ClassDef) and any(isinstance(part, ast.FunctionDef) and part.name == "plan" for part in node.body)
            for node in module.nodes
        )
        size, most = module.text.count("\n"), LINES["study" if study and module.parts[0] == "pipelines" else "file"]
        if size > most:
            yield f"{module.path}:1: {size} lines, at most {most}"
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                most = LINES.get(f"{module.path}:{node.name}", LINES["function"])
                if size > most:
                    yield f"{module.path}:{node.lineno}: {node.name} has {size} lines, at most {most}"
                given = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in given if name not in ("run", "self", "cls")])
                if count > PARAMETERS:
                    yield f"{module.path}:{node.lineno}: {node.name} has {count} parameters, at most {PARAMETERS}"


def names(tree: list[Module]) -> Iterator[str]:
    """Files are nouns of the domain: no drawers, no versions; a package says in one line what it is."""
    for module in tree:
        for part in module.parts:
            if part in DRAWERS or re.search(r"_v\d+$", part):
                yield f"{module.path}:1: `{part}` is not a noun of the domain"
        if module.path.endswith("__init__.py") and not ast.get_docstring(ast.parse(module.text)):
            yield f"{module.path}:1: a package has a docstring"
    folders = {str(Path(module.path).parent) for module in tree}
    for folder in sorted(folders - {str(Path(module.path).parent) for module in tree if module.path.endswith("__init__.py")}):
        yield f"{folder}/__init__.py:1: a package has an __init__.py"


def safety(tree: list[Module]) -> Iterator[str]:
    """Nothing is unpickled or evaluated, and the environment is read in one place."""
    for module in tree:
        for line, name, _ in module.imports():
            if name.split(".")[0] in PICKLES and "import UnpicklingError" not in module.text.splitlines()[line - 1]:
                yield f"{module.path}:{line}: {name} is never imported"
        for node in module.nodes:
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("eval", "exec"):
                    yield f"{module.path}:{node.lineno}: {called} is never called"
                words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if words.get("allow_pickle") == "True" or words.get("weights_only") == "False":
                    yield f"{module.path}:{node.lineno}: {called} is never told to unpickle"
                reads = called in ("os.getenv", "os.environ.get", "os.environ.copy")
            else:
                reads = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and ast.unparse(node.value) == "os.environ"
            if reads and module.path not in ENVIRONMENT:
                yield f"{module.path}:{node.lineno}: the environment is read in infra/settings.py"


RULES = (outside, order, cycles, unique, budgets, names, safety)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Callable[[list[Module]], Iterator[str]]) -> None:
    broken = list(rule(modules(ROOT)))
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


PLANTED = [
    (outside, "components/data/a.py", "def f():\n    import ray\n"),
    (outside, "components/models/a.py", "import open_clip\n"),
    (outside, "infra/a.py", "from components import types\n"),
    (outside, "infra/a.py", "import torch\n"),
    (outside, "infra/a.py", "import mlflow.entities\n"),
    (order, "components/weights/a.py", "from components import data\n"),
    (order, "components/data/a.py", "def f():\n    from components.models import build\n"),
    (order, "components/figures/a.py", "from components.analysis.table import t\n"),
    (order, "components/drawer/a.py", "import components.types\n"),
    (cycles, "infra/a.py", "from infra import b\n"),
    (unique, "components/data/a.py", "@revision(1)\ndef twice(): ...\n"),
    (budgets, "infra/a.py", "x = 1\n" * 301),
    (budgets, "pipelines/a.py", "class S:\n    def plan(self): ...\n" + "x = 1\n" * 60),
    (budgets, "infra/a.py", "def f():\n" + "    x = 1\n" * 50),
    (budgets, "infra/a.py", "def f(a, b, c, d, e, f, g, *, h, i, run): ...\n"),
    (names, "infra/utils.py", "x = 1\n"),
    (names, "infra/store_v2/a.py", "x = 1\n"),
    (names, "infra/place/a.py", "x = 1\n"),
    (safety, "infra/a.py", "import pickle\n"),
    (safety, "infra/a.py", "x = eval('1')\n"),
    (safety, "infra/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)\n"),
    (safety, "infra/a.py", "import os\nx = os.environ['HOME']\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED, ids=lambda value: getattr(value, "__name__", "").split("\n")[0])
def test_a_planted_violation_is_named(rule: Callable[[list[Module]], Iterator[str]], path: str, text: str, tmp_path: Path) -> None:
    for room in (*ROOMS, "components/data", "components/models", "components/weights", "components/figures", "components/drawer"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "infra" / "b.py").write_text("import infra.a\n")
    (tmp_path / "components" / "weights" / "twice.py").write_text("@revision(2)\nclass twice: ...\n")
    assert [line for line in rule(modules(tmp_path)) if "drawer" not in line] == []
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    broken = list(rule(modules(tmp_path)))
    assert broken and all(re.match(r"[\w/.]+\.py:\d+: ", line) for line in broken)


def test_describing_is_light() -> None:
    """No module of pipelines loads what only computing needs."""
    names = [module.name for module in modules(ROOT) if module.parts[0] == "pipelines"]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    if loaded: sys.exit(f'importing {name} loads {loaded}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_said_nowhere() -> None:
    """No tracked file names the place where it was written, or the hosts that packages came from."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if tracked.returncode:
        pytest.skip("needs a git checkout")
    said = []
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            data = (ROOT / name).read_bytes()
            lines = [] if b"\0" in data else data.decode(errors="replace").splitlines()
            said += [f"{name}:{number}: {hit.group()}" for number, line in enumerate(lines, 1) if (hit := UNSAID.search(line))]
    assert not said, "\n".join(said)
