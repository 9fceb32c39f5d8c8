"""What a finished run leaves behind: the table on the terminal, the page in the store, and its numbers in the run's journal."""

from __future__ import annotations

import mimetypes
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from infra import settings
from infra.finished import Finished
from infra.identity import digest
from infra.store.place import is_local
from pipelines.report import exhibits
from pipelines.report.advice import recommended
from pipelines.report.compare import Comparison
from pipelines.report.story import story_of
from pipelines.report.story_types import Story
from pipelines.report.terminal import plain, render

if TYPE_CHECKING:
    from pipelines.commands.session import Session

AT_ONCE = 8  # files that are put at the same time


def leave(finished: Finished, session: Session, name: str, preset: str) -> None:
    """Print the table; write the page where something ran or it is not there; tell the journal what MLflow should know."""
    story = story_of(finished, name, preset, session.command)
    ran = "done" in finished.state.values()
    url = folder_of(finished, name, preset)
    page = session.store.place.at(f"{url}/index.html")
    copy = os.path.join(session.folder, os.path.basename(url)) if ran and not session.store.place.local else ""  # what MLflow is sent is on this disk
    if ran or not session.store.place.exists(f"{url}/index.html"):
        write_page(session.store.place.at(url), story, copy)
    if ran:
        report(finished, session, story, copy or session.store.place.at(url))
    show(story, page)


def folder_of(finished: Finished, name: str, preset: str) -> str:
    """Where in its store the page of a study lies: named by all that is on it."""
    shown = digest([finished.fingerprints.of(node) for node in finished.plan.targets.values()])
    return f"reports/{name}-{preset}-{shown}"


def show(story: Story, page: str) -> None:
    """The table, and where the model and the page are."""
    if settings.on_terminal():
        from rich.console import Console

        Console().print(render(story))
    else:
        print(plain(story))
    for shown in story.exhibits:
        print(f"\n{exhibits.plain(shown)}")
    if story.advises and (one := recommended(story)) and one.name != story.winner.model:
        print(f"\nrecommended, {one.name}: {one.uri}", end="")
    print(*([f"\nmodel   {story.winner.uri}"] if story.winner.uri else [""]), f"page    {page}", sep="\n")


def write_page(url: str, story: Story, copy: str = "") -> None:
    """The page and its figures, in a folder at any URL; `copy` is where the files of one that is not on this disk stay as well."""
    from pipelines.report.page import write

    if is_local(url):
        write(url, story)
        return
    with tempfile.TemporaryDirectory() as scratch:
        write(copy or scratch, story)
        put(Path(copy or scratch), url)


def put(folder: Path, url: str) -> None:
    """All files of a local folder, each as what it is, so that a browser shows it."""
    import fsspec

    fs, root = fsspec.core.url_to_fs(url)

    def one(path: Path) -> None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        known = {"ContentType": kind + "; charset=utf-8" * kind.startswith("text/")} if url.startswith("s3://") else {}
        fs.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes(), **known)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, [path for path in sorted(folder.rglob("*")) if path.is_file()]))


def report(finished: Finished, session: Session, story: Story, folder: str) -> None:
    """Scores of every model, the champion and the page in a local folder, as events for MLflow."""
    comparison: Comparison = finished.plan.about
    nodes = {candidate.name: candidate.node for candidate in comparison.candidates}
    with session.journal() as journal:
        for row in story.table:
            node = nodes[row["model"]]
            of = {"fingerprint": finished.fingerprints.of(node)} if node else {"label": row["model"]}
            journal.write("score", **of, split=row["split"], metric="top1", value=row["top1"], n=row["n"])
        winner = nodes[story.winner.model]
        if winner is not None and story.winner.uri:
            fingerprint = finished.fingerprints.of(winner)
            journal.write("champion", fingerprint=fingerprint, uri=story.winner.uri, digest=story.winner.digest, name=f"{story.study}-{story.task}")
        journal.write("artifact", path=folder)
