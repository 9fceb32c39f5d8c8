"""Finding studies, and reading the words after a command: the fields of a dataclass are its flags."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from infra.identity import hints_of, is_knob
from infra.node import GPU, Resources
from infra.secrets import refuse_all
from pipelines.commands.fields import Part, Text, Tree, class_of, lay, loaded, made, near, path_of, written
from pipelines.commands.help import about, section, study_usage

FOLDER = Path(__file__).parent.parent
NOT_STUDIES = {"__init__", "__main__", "tasks"}
T = TypeVar("T")


def option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Where:
    """Which store."""

    store: str = option("", "folder or URL that keeps every result (default: $STOCKPOT_STORE, else ./store)")


@dataclass(frozen=True)
class Options(Where):
    """Where and how to run; none of these is part of a result's identity."""

    tracking: str = option("", "MLflow server or database; default a database beside a local store; none: off")
    ray: str = option("local", "local, none (one job at a time, without Ray), the ADDRESS of a cluster, or auto (that of this machine)")
    cpus: int | None = option(None, "CPUs of a local Ray (default: all)")
    cache_limit: int = option(8 << 30, "bytes of decoded images that a node keeps (default: 8 GiB)")
    checkpoint_every: float = option(60.0, "seconds between training states")
    hung_after: float = option(1800.0, "seconds without a step after which a training counts as hanging and is begun again; 0: never")
    on: Resources = option(GPU, "what stages that like a GPU get (default: one, or CPUs where there is none)")
    quiet: bool = option(False, "only the result, no progress")


class Chosen(NamedTuple):
    """A study as it was asked for, and the options of the command."""

    name: str
    preset: str
    study: Any
    options: Any


def studies() -> dict[str, str]:
    """{name: first line of the docstring} of every study, from the files alone."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in NOT_STUDIES:
            doc = ast.get_docstring(ast.parse(path.read_text()))
            found[path.stem] = (doc or "").split("\n")[0]
    return found


def presets(name: str) -> dict[str, Any]:
    """The presets of a study. ValueError for a name that is none."""
    known = list(studies())
    if name not in known:
        raise ValueError(f"{name!r} is not a study{near(name, known)}; there are {', '.join(known)}")
    found: dict[str, Any] = importlib.import_module(f"pipelines.{name}").PRESETS
    return found


def chosen(argv: Sequence[str], command: str, options: type = Options) -> Chosen:
    """The study, its preset and the options of the words after `stockpot run`; prints the help where it is asked for."""
    if not argv or argv[0] in ("-h", "--help"):
        print(study_usage(command, studies(), options))
        raise SystemExit(0)
    name, rest = argv[0], list(argv[1:])
    known = presets(name)
    preset = rest.pop(0) if rest and not rest[0].startswith("-") else "tiny"
    if preset not in known:
        raise ValueError(f"{preset!r} is not a preset of {name}{near(preset, list(known))}; there are {', '.join(known)}")
    words, flags = divided(rest, hints_of(options))
    if words:
        raise ValueError(f"{words[0]!r} is one word too many; a study has one preset, and its fields are flags like --trials 4")
    tree, own = laid(written(known[preset]), flags, options)
    if "help" in flags:
        print(about(f"stockpot {command} {name} {preset}", type(known[preset]), tree, options))
        raise SystemExit(0)
    study = made(type(known[preset]), tree)
    if "print_config" in flags:
        import yaml

        print(yaml.safe_dump(written(study)["init_args"], sort_keys=False), end="")
        raise SystemExit(0)
    return Chosen(name, preset, study, made(options, own))


def parse(argv: Sequence[str], options: type[T], usage: str) -> tuple[list[str], T]:
    """(words, options) of a command that runs no study; prints the help where it is asked for."""
    words, flags = divided(argv, hints_of(options))
    if "help" in flags:
        print(usage, *(["", *section("options", options, {})] if dataclasses.fields(options) else ()), sep="\n")  # type: ignore[arg-type]
        raise SystemExit(0)
    tree = objects(options)
    unknown(flags, [field.name for field in dataclasses.fields(options)])  # type: ignore[arg-type]
    return words, made(options, lay(options, tree, Part(flags), ""))


def objects(options: type) -> Tree:
    """The tree of options of which nothing is given: their fields that are objects."""
    fields = dataclasses.fields(options)
    return {"class_path": path_of(options), "init_args": {field.name: written(field.default) for field in fields if is_knob(field.default)}}


def divided(argv: Sequence[str], hints: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """(words, {flag: text}) of a command line: `--flag value`, `--flag=value`, and flags alone whose hint says that they are boolean."""
    words: list[str] = []
    flags: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-h" or not word.startswith("--"):
            words += [] if word == "-h" else [word]
            flags |= {"help": True} if word == "-h" else {}
            continue
        name, equals, value = word[2:].partition("=")
        head, dot, path = name.partition(".")
        name = head.replace("-", "_") + dot + path
        if name in ("help", "print_config"):
            flags[name] = True
        elif hints.get(name) is bool and not equals:
            flags[name] = Text("true")
        elif equals or (rest and not rest[0].startswith("--")):
            given = value if equals else rest.pop(0)
            flags[name] = [*flags.get(name, ()), given] if name == "config" and name not in hints else Text(given)
        else:
            raise ValueError(f"--{word[2:]}: a value is missing")
    return words, flags


def laid(tree: Tree, flags: dict[str, Any], options: type) -> tuple[Tree, Tree]:
    """The trees of a study and of the options, after YAML and then flags were laid over them."""
    own = objects(options)
    given = [(f"--config {name}", read(name)) for name in flags.get("config", ())]
    given += [("", {name: value for name, value in flags.items() if name not in ("config", "help", "print_config")})]
    mine = {field.name for field in dataclasses.fields(options)}
    cls = class_of(tree)
    for where, fields in given:
        unknown(fields, [*hints_of(cls), *mine, "config", "help", "print_config"], where)
        try:
            own = lay(options, own, Part({name: value for name, value in fields.items() if name.split(".")[0] in mine}), "")
            tree = lay(cls, tree, Part({name: value for name, value in fields.items() if name.split(".")[0] not in mine}), "")
        except ValueError as error:
            raise ValueError(f"{where}: {error}" if where else str(error)) from None
    return tree, own


def unknown(fields: dict[str, Any], known: Sequence[str], where: str = "") -> None:
    """Refuse the first name that is none of `known`."""
    for name in fields:
        head = str(name).split(".")[0]
        if head not in known:
            if where:
                raise ValueError(f"{where}: unknown field {head!r}{near(head, known)}")
            raise ValueError(f"unknown flag --{head}" + near(f"--{head}", [f"--{each}" for each in known]))


def read(name: str) -> dict[str, Any]:
    """The fields in a YAML file."""
    try:
        tree = loaded(Path(name).read_text(), f"--config {name}")
    except OSError as error:
        raise ValueError(f"--config {name}: {error.strerror or error}; check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"--config {name}: not YAML: it is not text") from None
    if not isinstance(tree, dict):
        raise ValueError(f"--config {name}: holds no fields; write lines like trials: 4")
    refuse_all(tree, f"--config {name}: ")
    return {"on" if field is True else str(field): value for field, value in tree.items()}  # YAML reads the word on as true
