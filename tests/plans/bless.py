"""What a component is: name, revision, defaults and code. `python -m tests.plans.bless NAME ...` (or `all`) accepts a change without a new revision.

A component is a function with a revision; its knobs are frozen dataclasses with one. The code is taken without layout,
comments and docstrings, so that prose is free, and whatever could change a result is not.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.weights.digests import digests_of
from infra.dag import Fingerprints
from infra.identity import Canon
from infra.store.pins import Pins
from infra.store.place import Place

GOLDEN = Path(__file__).parent / "components.json"
PLAN = Path(__file__).parent / "soup-tiny.json"
TARGETS = Path(__file__).parent / "targets-tiny.json"
ROOT = Path(__file__).parents[2]


def names() -> Iterator[tuple[str, str]]:
    """(module, name) of everything in components that is decorated with @revision, from the sources alone."""
    for path in sorted((ROOT / "components").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                marks = (d.func.id for d in node.decorator_list if isinstance(d, ast.Call) and isinstance(d.func, ast.Name))
                if "revision" in marks:
                    yield module, node.name


def code(source: str) -> str:
    """A function or class without layout, comments, docstrings and the revision itself."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            node.decorator_list = [d for d in node.decorator_list if not (isinstance(d, ast.Call) and getattr(d.func, "id", "") == "revision")]
    return ast.unparse(tree)


def defaults(thing: Any) -> Any:
    """The defaults of a function's parameters or a dataclass's fields, as an identity sees them."""
    canon = Canon()
    if dataclasses.is_dataclass(thing):
        found: dict[str, Any] = {}
        for field in dataclasses.fields(thing):
            if field.default is not dataclasses.MISSING:
                found[field.name] = canon(field.default)
            elif field.default_factory is not dataclasses.MISSING:
                found[field.name] = canon(field.default_factory())
        return found
    parameters = inspect.signature(thing).parameters.values()
    return {p.name: canon(p.default) for p in parameters if p.default is not p.empty and p.name != "run"}


@functools.cache
def components() -> dict[str, dict[str, Any]]:
    """{name: what it is} of every component and knob, from this checkout."""
    found: dict[str, dict[str, Any]] = {}
    for module, name in names():
        thing = getattr(importlib.import_module(module), name)
        digest_of_code = hashlib.sha256(code(inspect.getsource(thing)).encode()).hexdigest()[:16]
        assert name not in found, f"two components are called {name}"
        found[name] = {"module": module, "revision": thing.__revision__, "defaults": defaults(thing), "code": digest_of_code}
    return found


def plan() -> dict[str, str]:
    """{label: fingerprint} of the nodes of `soup tiny`, in their order; equal labels are told apart by number."""
    from pipelines.soup import PRESETS

    tiny = PRESETS["tiny"].plan()
    with tempfile.TemporaryDirectory() as folder:
        prints, found = Fingerprints(Pins(Place(folder), digests_of).of(tiny)), {}
    for node in tiny.nodes():
        name = next(f"{node.title}{end}" for end in ("", *(f" ({i})" for i in range(2, 999))) if f"{node.title}{end}" not in found)
        found[name] = prints.key(node)
    return found


def targets() -> dict[str, dict[str, str]]:
    """{study: {target of its tiny preset: fingerprint}}: in the fingerprint of a target is that of everything below it."""
    from pipelines.commands.studies import presets, studies

    found = {}
    for study in studies():
        tiny = presets(study)["tiny"].plan()
        with tempfile.TemporaryDirectory() as folder:
            prints = Fingerprints(Pins(Place(folder), digests_of).of(tiny))
        found[study] = {name: prints.key(node) for name, node in tiny.targets.items()}
    return found


def known(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def bless(wanted: list[str]) -> None:
    """Take the named components as they are now into the golden file; `all` of them, and the plans with them."""
    now, golden = components(), known(GOLDEN)
    unknown = [name for name in wanted if name not in (*now, *golden, "all")]
    if unknown or not wanted:
        sys.exit(f"bless: {', '.join(unknown) or 'nothing'} is no component; name one of them, or all")
    taken = {*now, *golden} if "all" in wanted else set(wanted)
    write(GOLDEN, {name: (now if name in taken else golden)[name] for name in sorted({*now, *golden}) if name in (now if name in taken else golden)})
    write(PLAN, plan())
    write(TARGETS, targets())


if __name__ == "__main__":
    bless(sys.argv[1:])
