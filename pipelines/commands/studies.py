"""Finding studies, and reading one from the command line and YAML: the fields of its dataclass are the flags."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import itertools
import typing
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent
NOT_STUDIES = {"__init__", "__main__", "tasks"}
ROOMS = ("components.", "pipelines.", "infra.space.")  # whose classes YAML may name


def option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Options:
    """Where and how to run; none of these is part of a result's identity."""

    store: str = option("", "folder or URL that keeps every result (default: $STOCKPOT_STORE, else ./store)")
    tracking: str = option("", "MLflow server or database; default a database beside a local store; none: off")
    ray: str = option("local", "local, none (one job at a time, without Ray) or the ADDRESS of a cluster")
    cpus: int | None = option(None, "CPUs of a local Ray (default: all)")
    cache_limit: int = option(8 << 30, "bytes of decoded images that a node keeps (default: 8 GiB)")
    checkpoint_every: float = option(60.0, "seconds between training states (default: 60)")


def studies() -> dict[str, str]:
    """{name: first line of the docstring} of every study, from the files alone."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in NOT_STUDIES:
            doc = ast.get_docstring(ast.parse(path.read_text()))
            found[path.stem] = (doc or "").split("\n")[0]
    return found


def near(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def presets(name: str) -> dict[str, Any]:
    """The presets of a study. ValueError for a name that is none."""
    known = list(studies())
    if name not in known:
        raise ValueError(f"{name!r} is not a study{near(name, known)}; there are {', '.join(known)}")
    found: dict[str, Any] = importlib.import_module(f"pipelines.{name}").PRESETS
    return found


def parser_of(prog: str, study: Any | None, extra: type = Options) -> Any:
    """A parser with the fields of a study (defaults from a preset) and the options of execution."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=prog, exit_on_error=False, description=type(study).__doc__ if study else None)
    group = parser.add_argument_group("execution (never part of a result's identity)")
    for field in dataclasses.fields(extra):
        group.add_argument("--" + field.name, type=typing.get_type_hints(extra)[field.name], default=field.default, help=field.metadata.get("help"))
    if study is not None:
        parser.add_argument("--config", action="config", help="YAML file with fields of the study")
        parser.add_class_arguments(type(study), None, default=study)
    return parser


def parse(prog: str, study: Any | None, argv: Sequence[str], extra: type = Options) -> tuple[Any, Any]:
    """(study, options) from flags and YAML. Raises ValueError, one line, naming the flag or key."""
    from argparse import ArgumentError

    parser = parser_of(prog, study, extra)
    guard(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            namespace = parser.parse_args(list(argv))
            made = parser.instantiate(namespace)
    except ArgumentError as error:
        raise ValueError(plain(str(error), parser)) from None
    options = extra(**{field.name: made.get(field.name) for field in dataclasses.fields(extra)})
    if study is None:
        return None, options
    return type(study)(**{field.name: made.get(field.name) for field in dataclasses.fields(study)}), options


def plain(message: str, parser: Any) -> str:
    """jsonargparse's message as one line, with a near flag where one was unknown."""
    line = " ".join(message.split())
    if "nrecognized arguments" in line:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        unknown = line.rsplit(":", 1)[-1].split()[0]
        return f"unknown flag {unknown}{near(unknown, flags)}"
    return line


def guard(argv: Sequence[str]) -> None:
    """Refuse configuration that names classes outside of stockpot, before anything is imported."""
    files = [value for flag, value in itertools.pairwise(argv) if flag == "--config"]
    files += [flag.split("=", 1)[1] for flag in argv if flag.startswith("--config=")]
    for name in files:
        import yaml

        try:
            tree = yaml.safe_load(Path(name).read_text())
        except OSError as error:
            raise ValueError(f"--config {name}: {error.strerror or error}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"--config {name}: not YAML: {' '.join(str(error).split())}") from None
        for path in classes_in(tree):
            if "." in path and not path.startswith(ROOMS):
                raise ValueError(f"--config {name}: names {path}, and YAML may name classes of components and pipelines only")


def classes_in(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        own = [str(tree["class_path"])] if "class_path" in tree else []
        return own + [path for value in tree.values() for path in classes_in(value)]
    return [path for item in tree for path in classes_in(item)] if isinstance(tree, list) else []
