"""What a finished run leaves behind: the table on the terminal, the page in the store, and its numbers in the run's journal."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from infra import settings
from infra.finished import Finished
from infra.store.place import is_local
from pipelines.report.compare import Comparison
from pipelines.report.story import story_of
from pipelines.report.story_types import Story
from pipelines.report.terminal import plain, render

if TYPE_CHECKING:
    from pipelines.commands.session import Session


def leave(finished: Finished, session: Session, name: str, preset: str) -> None:
    """Print the table; write the page where something ran or it is not there; tell the journal what MLflow should know."""
    story = story_of(finished, name, preset, session.command)
    ran = "done" in finished.state.values()
    url = folder_of(finished, name, preset)
    page = session.store.place.at(f"{url}/index.html")
    if ran or not session.store.place.exists(f"{url}/index.html"):
        write_page(session.store.place.at(url), story)
    if ran:
        report(finished, session, story, page)
    show(story, page)


def folder_of(finished: Finished, name: str, preset: str) -> str:
    """Where in its store the page of a study lies."""
    return f"reports/{name}-{preset}-{finished.fingerprints.of(finished.plan.targets['table'])}"


def show(story: Story, page: str) -> None:
    """The table, and where the model and the page are."""
    if settings.on_terminal():
        from rich.console import Console

        Console().print(render(story))
    else:
        print(plain(story))
    print(f"\nmodel   {story.winner.uri}\npage    {page}")


def write_page(url: str, story: Story) -> None:
    """The page and its figures, in a folder at any URL."""
    from pipelines.report.page import write

    if is_local(url):
        write(url, story)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        write(folder, story)
        fs, root = fsspec.core.url_to_fs(url)
        fs.put(folder + os.sep, root, recursive=True)


def report(finished: Finished, session: Session, story: Story, page: str) -> None:
    """Scores of every model, the champion and the page, as events for MLflow."""
    comparison: Comparison = finished.plan.about
    nodes = {candidate.name: candidate.node for candidate in comparison.candidates}
    with session.journal() as journal:
        for row in story.table:
            node = nodes[row["model"]]
            of = {"fingerprint": finished.fingerprints.of(node)} if node else {"label": row["model"]}
            journal.write("score", **of, split=row["split"], metric="top1", value=row["top1"], n=row["n"])
        winner = nodes[story.winner.model]
        if winner is not None:
            fingerprint = finished.fingerprints.of(winner)
            journal.write("champion", fingerprint=fingerprint, uri=story.winner.uri, digest=story.winner.digest, name=f"{story.study}-{story.task}")
        if is_local(page):
            journal.write("artifact", path=os.path.dirname(page))
