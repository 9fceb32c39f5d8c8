"""Help: the fields of a study or of a command with short types, their values and what they mean."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from infra.identity import hints_of, inner_hint
from pipelines.commands.fields import Tree, bare, family, is_class, named, written

WIDTH = 100
INDENT = 34


def short(hint: Any) -> str:
    """A type in a word or two."""
    hint = bare(hint)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(str(option) or '""' for option in options)
    if origin in (typing.Union, types.UnionType):
        return "|".join(short(option) for option in options if option is not type(None))
    if origin in (Mapping, dict) or hint in (Mapping, dict):
        return f"{{name: {short(inner_hint(hint))}}}"
    if origin in (tuple, list):
        return f"{short(inner_hint(hint))},..."
    if is_class(hint) or not isinstance(hint, type):
        return getattr(hint, "__name__", "value")
    return {"str": "TEXT", "int": "INT", "float": "NUMBER", "bool": "true|false"}.get(hint.__name__, hint.__name__)


def shown(value: Tree) -> str:
    """A value of a tree as one would type it, cut where it is long."""
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"].rsplit(".", 1)[-1])
    if isinstance(value, dict):
        return f"{{{', '.join(value)}}}"
    text = ",".join(map(shown, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."


def line(name: str, kind: str, text: str) -> str:
    head = f"  --{name} {kind}".ljust(INDENT)
    if len(head) > INDENT or head[-1] != " ":
        head += "\n" + " " * INDENT
    body = textwrap.wrap(text, WIDTH - INDENT) or [""]
    return (head + body[0]).rstrip() + "".join("\n" + " " * INDENT + more for more in body[1:])


def rows(cls: type, values: Mapping[str, Tree], prefix: str = "") -> Iterator[str]:
    """A line for each field; the fields of an object follow it."""
    for field in dataclasses.fields(cls):
        hint = bare(hints_of(cls)[field.name])
        default = field.default if field.default is not dataclasses.MISSING else None
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        value = values.get(field.name, written(default))
        text = f"now {shown(value)}" if value not in (None, "") else "needed" if needed and field.name not in values else ""
        if help := field.metadata.get("help"):
            text = help + (f" (default: {shown(value)})" if value not in (None, "", False) and "default" not in help else "")
        others = sorted(name for name in family(hint) if not prefix and name != shown(value)) if is_class(hint) else []
        alone = hint is bool and "help" in field.metadata and not prefix  # an option of a command, which takes no value
        yield line(prefix + field.name, "" if alone else short(hint), text + (f"; or {', '.join(others)}" if others else ""))
        if isinstance(value, dict) and "class_path" in value and not prefix:
            yield from rows(named(hint, value["class_path"], field.name), value["init_args"], f"{field.name}.")


def section(title: str, cls: type, values: Mapping[str, Tree]) -> list[str]:
    return [f"{title}:", *rows(cls, values)]


def about(prog: str, study: type, tree: Tree, options: type) -> str:
    """The help of a study: its fields with the values of the preset and of the other flags, and the options of execution."""
    lines = [f"usage: {prog} [--field value ...]", "", inspect.cleandoc(study.__doc__ or ""), ""]
    lines += section(study.__name__, study, tree["init_args"])
    lines += ["", *section("execution (never part of a result's identity)", options, {})]
    lines += ["", "configuration:", line("config", "FILE.yaml", "fields of the study; flags go over it")]
    lines += [line("print_config", "", "print the fields as such a file")]
    lines += ["", "A field that is an object takes Name, Name(value, field=value), or its fields one by one: --task Own --task.url ./photos"]
    return "\n".join(lines)


def study_usage(command: str, studies: Mapping[str, str], options: type) -> str:
    """The help of a command that takes one of the studies (name: claim)."""
    lines = [f"usage: stockpot {command} STUDY [PRESET] [--field value ...] [--config FILE.yaml]", "", "studies:"]
    lines += [f"  {name:<10} {claim}" for name, claim in studies.items()]
    lines += ["", *section("options", options, {}), "", "Presets are smoke, tiny (where none is named) and paper."]
    return "\n".join([*lines, f"stockpot {command} STUDY --help lists a study's fields."])
