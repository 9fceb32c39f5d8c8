"""stockpot: fine-tune one open_clip model many times, and turn the runs into one better model.

The command line. Errors are one line (the thing, the reason, the remedy) and an exit code: 0 ok, 2 bad input, 3 partial success, 4 infrastructure
(the same command continues), 5 integrity, 130 interrupted; 1 is our bug.
"""

from __future__ import annotations

import importlib
import io
import keyword
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from infra import settings
from infra.errors import BUG, INFRASTRUCTURE, INTERRUPTED, exit_code_of
from infra.secrets import redact, refuse_all

COMMANDS = {
    "run": "run a study:            stockpot run soup tiny --trials 16",
    "plan": "what a run would do:    stockpot plan soup paper",
    "pin": "hash data once:         stockpot pin s3://bucket/photos",
    "show": "what a store holds:     stockpot show [KEY]",
    "predict": "labels for images:      stockpot predict MODEL FOLDER > labels.csv",
    "eval": "score a model:          stockpot eval MODEL --data Folder --data.url ./photos",
    "merge": "combine checkpoints:    stockpot merge uniform A B C --out ./soup",
    "diff": "compare two models:     stockpot diff A B [--base C]",
    "import": "take in weights:        stockpot import weights.pt --model ViT-B-32 --out ./model",
    "export": "hand weights out:       stockpot export MODEL --out ./model.pt --format pt",
    "report": "the page of a study:    stockpot report soup tiny",
    "ls": "the nodes of a store:   stockpot ls ./store --function train",
    "verify": "check a store's bytes:  stockpot verify ./store",
    "gc": "what can go from one:   stockpot gc ./store [--yes]",
    "submit": "run it on a cluster:    stockpot submit soup --store s3://bucket/store",
    "status": "runs on a cluster:      stockpot status [ID]",
    "logs": "what one prints:        stockpot logs [ID] --follow",
    "stop": "end one for a while:    stockpot stop [ID]",
    "copy": "one store to another:   stockpot copy ./store s3://bucket/store",
    "doctor": "check this machine:     stockpot doctor --store ./store",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: stop as Ctrl-C does, and say that the same command continues (exit 4)."""

    exit_code = INFRASTRUCTURE


def terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def note(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning of ours is a line of its own; other libraries' are as they come."""
    ours = category is UserWarning and f"{os.path.sep}components{os.path.sep}" in filename
    return redact(f"note: {message}\n") if ours else PLAIN(message, category, filename, lineno, line)


PLAIN = warnings.formatwarning


def usage() -> str:
    """The front page of the help: commands, and the studies from their files and docstrings."""
    from pipelines.commands.studies import studies

    lines = ["usage: stockpot COMMAND ...", "", (__doc__ or "").split("\n")[0].removeprefix("stockpot: ").capitalize(), "", "commands:"]
    lines += [f"  {name:<9} {text}" for name, text in COMMANDS.items()]
    lines += ["", "studies:"] + [f"  {name:<9} {claim}" for name, claim in studies().items()]
    return "\n".join([*lines, "", "stockpot COMMAND --help tells more; stockpot run STUDY --help lists a study's fields."])


def command(name: str) -> Any:
    """The module of a command; `import` is a word of Python's own."""
    return importlib.import_module(f"pipelines.commands.{name}{'_' if keyword.iskeyword(name) else ''}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        from pipelines.commands.studies import studies

        meant = f"it is a study: stockpot run {name}" if name in studies() else f"there are {', '.join(COMMANDS)}"
        print(f"stockpot: {name!r} is not a command; {meant}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, terminate)
    warnings.formatwarning = note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a log in ASCII gets a ? for what it cannot hold
    try:
        words = [word.partition("=") for word in arguments[1:]]
        refuse_all([{word.lstrip("-"): value} if word.startswith("--") else "".join([word, _, value]) for word, _, value in words], "--")
        module = command(name)
        if "fsspec" in sys.modules or any("://" in word or word.startswith("--config") for word in arguments):  # a tenth of a second
            settings.configure()
        code = int(module.main(arguments[1:]))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        kept = "what was finished is kept, and the same command goes on from there" if name == "run" else "the same command begins anew"
        print(f"\nstopped; {kept}", file=sys.stderr)
        return getattr(stop, "exit_code", INTERRUPTED)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        code = exit_code_of(error)
        if debug or code == BUG:
            print(redact(traceback.format_exc()), file=sys.stderr)
        line = redact((str(error).strip() or type(error).__name__).splitlines()[0])
        print(f"stockpot: {line}" if code != BUG else "stockpot: this is a bug of ours, not of yours; nothing finished is lost", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
