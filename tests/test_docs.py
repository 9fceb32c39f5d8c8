"""The README and the pages of docs: every command parses, every Python example runs, every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = ("components", "infra", "pipelines")
UNSAID = re.compile(r"/{}/|\.\./{}|{}\.org/simple|\bissue #?\d".format("work", "shared", "pypi"))
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block: the words after the fence, its text and where it stands."""

    words: list[str]
    text: str
    where: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        yield Block(match[2].split(), textwrap.dedent(match[3]), f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}")


def commands(page: Path) -> Iterator[tuple[str, list[str], str]]:
    """(where, words, file that it writes) of each `stockpot ...` in a block of shell; a line that ends in a backslash goes on."""
    for block in blocks(page):
        if block.words[:1] == ["sh"]:
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "stockpot" in words[:1]:
                    end = words.index(">") if ">" in words else len(words)
                    yield block.where, words[1:end], "".join(words[end + 1 :])


def written(tree: Path) -> dict[str, str]:
    """A copy of the sources with the examples that name a file."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for page in PAGES:
        for block in blocks(page):
            title = next((word.removeprefix("title=") for word in block.words if word.startswith("title=")), "")
            if not title.endswith(".py"):
                continue
            path = tree / title
            assert path.parent.is_dir(), f"{block.where}: there is no folder for {title}"
            assert ("append" in block.words) == path.exists(), f"{block.where}: {title} is there already"
            with open(path, "a") as file:
                file.write(("\n\n" if "append" in block.words else "") + block.text)
    return {**os.environ, "PYTHONPATH": str(tree), "STOCKPOT_CACHE": str(tree / "cache")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    tree = tmp_path_factory.mktemp("sources")
    return tree, written(tree)


PARSE = """
import contextlib, io, json, sys
from pipelines.__main__ import COMMANDS, command
from pipelines.commands import studies

wrong = []
for where, words, file in json.load(sys.stdin):
    name, *rest = words
    try:
        if name == "--help":
            continue
        if name not in COMMANDS:
            raise ValueError(f"{name!r} is not a command")
        module = command(name)
        own = getattr(module, "chosen", studies.chosen)
        study = hasattr(module, "chosen") and rest and not rest[0].startswith("-")
        known = (getattr(module, "Asked", None), getattr(module, "Options", None), studies.Options if hasattr(module, "chosen") else studies.Where)
        options = next(filter(None, known))
        with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
            if own is not studies.chosen:  # merge: a rule's options
                own(rest, options)
            elif study:
                studies.chosen(rest, name, options)
            else:
                studies.parse(rest, options, "")
        if file:
            open(file, "w").write(shown.getvalue())
    except ValueError as error:
        wrong.append(f"{where}: stockpot {' '.join(words)}: {error}")
print("\\n".join(wrong))
"""


def test_commands_parse(sources: tuple[Path, dict[str, str]]) -> None:
    """Every command, study, preset and flag is known and of the right type; nothing is executed."""
    tree, env = sources
    listed = [command for page in PAGES for command in commands(page)]
    assert len(listed) > 20
    done = subprocess.run([sys.executable, "-c", PARSE], env=env, cwd=tree, input=json.dumps(listed), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr


def test_the_table_of_commands_is_complete() -> None:
    """The README's table names each command once, and no other."""
    named = re.findall(r"^\| `stockpot (\w+)", (ROOT / "README.md").read_text(), re.M)
    assert sorted(named) == sorted(COMMANDS)


def test_links_lead_to_files_and_headings() -> None:
    wrong = []
    for page in PAGES:
        prose = FENCE.sub("", page.read_text())
        for link in re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose):
            path, _, heading = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                wrong.append(f"{page.name}: {link}: no such file")
            elif heading and heading not in anchors(target):
                wrong.append(f"{page.name}: {link}: no such heading")
    assert not wrong, "\n".join(wrong)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_paths_in_prose_exist() -> None:
    """`components/train.py` and the like, unless an example of the same page makes it."""
    wrong = []
    for page in PAGES:
        text = page.read_text()
        made = {word.removeprefix("title=") for block in blocks(page) for word in block.words}
        for path in re.findall(r"`((?:components|infra|pipelines|tests|docs)/[\w./-]+)`", FENCE.sub("", text)):
            if not (ROOT / path).exists() and path not in made:
                wrong.append(f"{page.name}: {path}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_said_of_the_workplace() -> None:
    found = [f"{page.name}: {match[0]}" for page in PAGES for match in UNSAID.finditer(page.read_text())]
    assert not found, "\n".join(found)


def test_python_examples_run(sources: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    tree, env = sources
    for page in PAGES:
        for block in blocks(page):
            if block.words[:2] == ["python", "run"]:
                text = block.text.replace("local-dir:MODEL", f"local-dir:{tree}/components/models/stockpot-tiny")
                done = subprocess.run([sys.executable, "-c", text], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
                assert done.returncode == 0, f"{block.where}:\n{done.stderr}"


def example_studies() -> list[str]:
    words = [word for page in PAGES for block in blocks(page) for word in block.words]
    return sorted(Path(word).stem for word in words if re.fullmatch(r"title=pipelines/\w+\.py", word))


@pytest.mark.parametrize("study", example_studies())
def test_example_studies_run(study: str, sources: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    _, env = sources
    words = [sys.executable, "-m", "pipelines", "run", study, "smoke", "--ray", "none", "--tracking", "none", "--store", str(tmp_path / "store")]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "digits %" in done.stdout
    if study == "hunt":  # the best of a search are its candidates, and its picture is of all
        (rows,) = [path.read_text().splitlines() for path in (tmp_path / "store" / "reports").glob("*/figures/sweep.csv")]
        assert rows[0].startswith("trial,update.lr,") and sorted(row.partition(",")[0] for row in rows[1:]) == ["", "0", "1"]
