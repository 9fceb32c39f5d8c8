"""Fields as a tree of class names and arguments, over which YAML and flags are laid; jsonargparse then reads the values by their types.

A class that is named anew starts from its own defaults, where jsonargparse alone would carry over what the class before it was given; and no
name is imported before it is known to be one of stockpot's.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import inspect
import re
import typing
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra.identity import hints_of, inner_hint, is_knob

Tree = Any
ROOMS = ("components.", "pipelines.", "infra.node.", "infra.space.")  # whose classes may be named


class Text(str):
    """The words after a flag: read as the field's type wants them."""


class Call(str):
    """An object inside of another's call, as it was typed."""


class Part(dict[str, Any]):
    """Fields given one by one: a mapping is added to, not replaced."""


def near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def written(value: Any) -> Tree:
    """The tree of an object: what YAML holds of it."""
    if is_knob(value):
        return {"class_path": path_of(type(value)), "init_args": {f.name: written(getattr(value, f.name)) for f in dataclasses.fields(value)}}
    if isinstance(value, Mapping):
        return {key: written(item) for key, item in value.items()}
    return [written(item) for item in value] if isinstance(value, list | tuple) else value


def bare(hint: Any) -> Any:
    """A hint without `Annotated` and without None."""
    if typing.get_origin(hint) is typing.Annotated:
        return bare(typing.get_args(hint)[0])
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    return bare(options[0]) if type(None) in typing.get_args(hint) and len(options) == 1 else hint


def defaults(cls: type) -> dict[str, Tree]:
    """The fields of a class that need not be given."""
    found = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            found[field.name] = written(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = written(field.default_factory())
    return found


def class_of(tree: Tree) -> type:
    """The class that a tree names, which `named` has let through."""
    module, _, name = tree["class_path"].rpartition(".")
    return typing.cast(type, getattr(importlib.import_module(module), name))


def complete(tree: Tree, where: str = "", cls: type | None = None) -> None:
    """Refuse a tree, of a class that may be known already, in which a field that has no default was not given."""
    if isinstance(tree, list):
        for i, item in enumerate(tree):
            complete(item, f"{where}[{i}]")
    elif isinstance(tree, dict):
        inner = tree.get("init_args", tree)
        if "class_path" in tree:
            cls = cls or class_of(tree)
            if missing := [f.name for f in dataclasses.fields(cls) if f.name not in inner and f.name not in defaults(cls)]:
                flag = f"{where}.{missing[0]}" if where else missing[0]
                raise ValueError(f"{where or 'the study'}: {cls.__name__} needs {', '.join(missing)}; give --{flag}")
        for name, item in inner.items():
            complete(item, f"{where}.{name}" if where else name)


def is_class(hint: Any) -> bool:
    """Whether a field of this hint holds an object of ours."""
    return isinstance(hint, type) and f"{hint.__module__}.".startswith(ROOMS)


def family(base: type) -> dict[str, type]:
    """The classes that may fill a field, by name: those of ours that have been imported."""
    found, stack = {}, [base]
    while stack:
        cls = stack.pop(0)
        stack += cls.__subclasses__()
        if dataclasses.is_dataclass(cls) and not inspect.isabstract(cls) and path_of(cls).startswith(ROOMS):
            found[cls.__name__] = cls
    return found


def named(base: type, name: str, where: str) -> type:
    """The class that a name or a path means. ValueError where it is none that may stand here; nothing foreign is imported."""
    known = {**family(base), path_of(base): base}
    if name in known:
        return known[name]
    module, _, last = name.rpartition(".")
    if module and not f"{module}.".startswith(ROOMS):
        raise ValueError(f"{where}: {name} is not a class of stockpot; only classes of components and pipelines may be named")
    try:
        found = getattr(importlib.import_module(module), last, None) if module else None
    except ImportError:
        found = None
    if isinstance(found, type) and base in found.__mro__ and dataclasses.is_dataclass(found):
        return found
    raise ValueError(f"{where}: {name!r} is no {base.__name__}{near(last, family(base))}; there are {', '.join(sorted(family(base)))}")


def constant(name: str, where: str) -> Tree:
    """The tree of a named task or search space (`DIGITS`, `CLIP`), or None where there is no such name."""
    found = getattr(importlib.import_module("pipelines.tasks"), name, None) if name.isupper() else None
    return None if found is None else written(found)


def loaded(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def lay(hint: Any, old: Tree, new: Any, where: str) -> Tree:
    """The tree of a field after `new` was laid over `old`."""
    hint = bare(hint)
    if is_class(hint) and new is not None:
        return _class(hint, old, new, where)
    if typing.get_origin(hint) in (Mapping, dict):
        return _mapping(hint, old, new, where)
    if isinstance(new, dict | Call):  # jsonargparse would import what a class_path names, whatever the field's type
        raise ValueError(f"{where}: expected {EXPECTED.get(getattr(hint, '__name__', ''), 'a value')}, got an object")
    if isinstance(new, Text):
        new = _several(new, where) if is_class(inner_hint(hint)) and "{" not in new else _scalar(hint, new, where)
    if isinstance(new, list | tuple):
        return [lay(inner_hint(hint), None, item, f"{where}[{i}]") for i, item in enumerate(new)]
    return new


def _class(base: type, old: Tree, new: Any, where: str) -> Tree:
    name, fields = _form(new, where)
    if isinstance(name, dict):
        return name
    before = named(base, old["class_path"], where) if isinstance(old, dict) else None
    cls = named(base, name, where) if name else before or base
    if cls is not before and (inspect.isabstract(cls) or not dataclasses.is_dataclass(cls)):
        raise ValueError(f"{where}: say which {base.__name__}: {', '.join(sorted(family(base)))}")
    values = dict(old["init_args"]) if before is cls and not isinstance(new, str) else defaults(cls)
    hints, order = hints_of(cls), [field.name for field in dataclasses.fields(cls)]
    for given, value in fields.items():
        key, dot, rest = (order[given], "", "") if isinstance(given, int) and given < len(order) else str(given).partition(".")
        key = key if key in hints else key.replace("-", "_")
        if key not in hints:
            raise ValueError(f"{where}: {cls.__name__} has no field {key!r}{near(key, order)}; it has {', '.join(order)}")
        inner = f"{where}.{key}" if where else key
        values[key] = lay(hints[key], values.get(key), Part({rest: value}) if dot else value, inner)
    return {"class_path": path_of(cls), "init_args": values}


def _form(new: Any, where: str) -> tuple[Any, dict[Any, Any]]:
    """(name of a class or None, fields) of `Name`, `Name(1, key=2)`, {class_path, init_args} or {field: value}; a named constant is (tree, {})."""
    if isinstance(new, str):
        if new.lstrip().startswith("{"):
            return _form(loaded(new, where), where)
        if "(" in new:
            return _called(new, where)
        return constant(new, where) or str(new), {}
    if not isinstance(new, dict):
        raise ValueError(f"{where}: expected a class and its fields, got {new!r}")
    if "class_path" not in new:
        return None, new
    if extra := set(new) - {"class_path", "init_args"}:
        raise ValueError(f"{where}: {min(extra)!r} stands beside class_path; put it under init_args")
    return str(new["class_path"]), dict(new.get("init_args") or {})


def _called(text: str, where: str) -> tuple[str, dict[Any, Any]]:
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Call):
            values: dict[Any, ast.expr] = {**dict(enumerate(node.args)), **{str(word.arg): word.value for word in node.keywords}}
            return ast.unparse(node.func), {key: _value(value) for key, value in values.items()}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"{where}: {str(text)!r} cannot be read; write it as Name, or as Name(value, field=value)")


def _value(node: ast.expr) -> Any:
    """What an expression in a call stands for: a name and another call are read as the field that they are of wants them."""
    if isinstance(node, ast.Call | ast.Name):
        return Call(ast.unparse(node))
    return [_value(item) for item in node.elts] if isinstance(node, ast.List | ast.Tuple) else ast.literal_eval(node)


def _several(text: str, where: str) -> list[Any]:
    """Objects in a row, with or without brackets: `DIGITS, Own("./flowers")`."""
    try:
        return list(_value(ast.parse(text.strip() if text.lstrip().startswith("[") else f"[{text}]", mode="eval").body))
    except (SyntaxError, ValueError):
        raise ValueError(f"{where}: {str(text)!r} cannot be read; write objects in a row, text quoted: DIGITS, Name('text', field=value)") from None


def _mapping(hint: Any, old: Tree, new: Any, where: str) -> Tree:
    if isinstance(new, str):
        new = constant(new, where) or loaded(new, where)
    if not isinstance(new, dict):
        raise ValueError(f"{where}: expected a mapping like {{name: value}}, got {new!r}")
    laid = {str(key): lay(inner_hint(hint), None, value, f"{where}.{key}") for key, value in new.items()}
    return {**(old or {}), **laid} if isinstance(new, Part) else laid


def _scalar(hint: Any, text: Text, where: str) -> Any:
    if hint is str or (typing.get_origin(hint) is typing.Literal and str(text) in typing.get_args(hint)):
        return str(text)
    if hint is bool and text in ("true", "false"):
        return text == "true"
    if typing.get_origin(hint) in (tuple, list, Sequence) and not text.lstrip().startswith("["):
        return [Text(item.strip()) for item in text.split(",") if item.strip()]
    return loaded(text, where)


def made(cls: type, tree: Tree, where: str = "") -> Any:
    """The object of a tree. ValueError, one line that names the field, where a type is wrong or a value is missing.

    jsonargparse sees plain values only: to tell whether a class has a protocol it would import what their annotations name, torch too.
    """
    if not where:
        complete(tree, cls=cls)
    hints, plainly, values = hints_of(cls), {}, {}
    for name, item in tree["init_args"].items():
        hint, inner = hints[name], f"{where}.{name}" if where else name
        if is_class(bare(hint)) or is_class(inner_hint(hint)):
            if item is None and type(None) not in typing.get_args(hint):
                raise ValueError(f"{inner}: expected one of {', '.join(sorted(family(bare(hint))))}, got nothing")
            values[name] = objects(item, inner)
        elif hint in (str, bool) and type(item) is hint:
            values[name] = item
        else:
            plainly[name] = item
    return cls(**values, **typed(plainly, hints, where))


def typed(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Plain values as their types want them. ValueError names the field."""
    if not values:
        return {}
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    for name, value in values.items():  # what is given is of the type itself, and an error names that alone
        parser.add_argument(f"--{name}", type=hints[name] if value is None else bare(hints[name]))
    try:
        found: dict[str, Any] = parser.parse_object(dict(values)).as_dict()
    except ArgumentError as error:
        raise ValueError(plain(str(error), where)) from None
    return found


def objects(tree: Tree, where: str) -> Any:
    """What a tree stands for whose leaves are objects."""
    if isinstance(tree, dict) and "class_path" in tree:
        return made(class_of(tree), tree, where)
    if isinstance(tree, dict):
        return {key: objects(item, f"{where}.{key}") for key, item in tree.items()}
    return tuple(objects(item, f"{where}[{i}]") for i, item in enumerate(tree)) if isinstance(tree, list) else tree


EXPECTED = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "tuple": "a list", "list": "a list"}


def plain(message: str, owner: str) -> str:
    """What jsonargparse says, in one line: the field, what was expected and what was given."""
    keys = re.findall(r'[Kk]ey "([^"]+)"', message)
    where = ".".join([owner, *keys] if owner else keys) or "the configuration"
    if found := re.search(r"Expected an? (.*?)\.\s+Got value: (.*)", message, re.S):
        wanted = re.sub(r"<class '([\w.]+)'>", lambda hit: EXPECTED.get(hit[1], hit[1].rsplit(".", 1)[-1]), found[1])
        wanted = re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", wanted)
        return f"{where}: expected {' '.join(wanted.split())}, got {' '.join(found[2].split())!r}"
    return f"{where}: {' '.join(message.split())}"
