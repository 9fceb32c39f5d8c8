"""MLflow's database is whole, or not there, wherever its maker dies."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from infra.tracking import database

KILLED = """
import os, sys
import sqlalchemy
from mlflow import MlflowClient
from infra.tracking import database
from infra.tracking.entities import configure

configure()
steps = 0


def dies(connection, cursor, statement, *_):
    global steps
    steps += statement.lstrip().upper().startswith(("CREATE", "ALTER"))
    if steps == last:
        os._exit(9)


for last in map(int, sys.argv[2:]):
    address = f"sqlite:///{sys.argv[1]}/{last}/mlflow.db"
    os.mkdir(f"{sys.argv[1]}/{last}")
    if not (child := os.fork()):
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", dies)
        database.make(address)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, "it came to its end"
    assert not os.path.exists(f"{sys.argv[1]}/{last}/mlflow.db")
    makers = []
    for _ in range(3):
        makers.append(os.fork())
        if not makers[-1]:
            database.make(address)
            os._exit([one.name for one in MlflowClient(tracking_uri=address).search_experiments()] != ["Default"])
    assert all(os.waitpid(maker, 0)[1] == 0 for maker in makers)
"""


def test_a_database_whose_maker_was_killed_is_made_by_the_next(tmp_path: Path) -> None:
    """Among its first tables, among its migrations, and shortly before it is done; then by several at once."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), "3", "30", "60"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for folder in tmp_path.iterdir():
        assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as made:
            assert made.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("sqlite:////x/mlflow.db", "/x/mlflow.db"),
        ("sqlite:////x/mlflow.db?timeout=20", "/x/mlflow.db"),
        ("sqlite:///here.db", "here.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite:///file:x?mode=memory&uri=true", None),
        ("postgresql://me@host/x", None),
        ("http://host:5000", None),
    ],
)
def test_what_of_an_address_is_a_file(address: str, name: str | None) -> None:
    found = database.file(address)
    assert (found and str(found)) == name


def test_a_folder_that_is_not_there_is_made_and_one_without_links_left_to_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    database.make(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["mlflow.db"]
    monkeypatch.setattr(os, "link", refused)
    database.make(f"sqlite:///{tmp_path}/mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
