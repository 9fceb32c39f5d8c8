"""The journal: whole lines, in order, without secrets, from any number of processes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from infra.tracking.journal import Journal, events, read


def test_what_is_written_is_read_in_order_of_time(tmp_path: Path) -> None:
    driver, worker = Journal(tmp_path, "driver"), Journal(tmp_path, "worker-0")
    for step in range(3):
        driver.write("node", state="running", fingerprint=str(step))
        worker.write("metric", fingerprint=str(step), step=step, values={"loss": 0.5})
    assert [event["fingerprint"] for event in events(tmp_path)] == ["0", "0", "1", "1", "2", "2"]
    assert [event["at"] for event in events(tmp_path)] == sorted(event["at"] for event in events(tmp_path))


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journals = [Journal(tmp_path, name) for name in "ab"]
    seen: list[int] = []
    cursor: dict[str, int] = {}
    for number in range(6):
        journals[number % 2].write("metric", step=number)
        for line in read(tmp_path, cursor):
            seen.append(line.event["step"])
            cursor[line.writer] = line.end
    assert seen == list(range(6))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_line_is_left_out_and_costs_no_other(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path, "w")
    for step in range(3):
        journal.write("metric", step=step)
    journal.close()
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-cut])
    torn = [event["step"] for event in events(tmp_path)]
    assert torn == list(range(len(torn))) and len(torn) < 3
    again = Journal(tmp_path, "w")  # the process that comes after the crash
    again.write("metric", step=7)
    steps = [event["step"] for event in events(tmp_path)]
    assert steps in ([*torn, 7], [0, 1, 2, 7])  # where only the end of the line was lost, the event is not


def test_a_line_that_is_still_being_written_is_read_later(tmp_path: Path) -> None:
    Journal(tmp_path, "w").write("metric", step=0)
    path = tmp_path / "journal" / "w.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:9])
    assert read(tmp_path) == []
    path.write_bytes(whole)
    assert [line.event["step"] for line in read(tmp_path)] == [0]


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w")
    threads = [threading.Thread(target=lambda n=n: [journal.write("metric", step=n, text="x" * 5000) for _ in range(50)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event["step"] for event in events(tmp_path)) == sorted([0, 1, 2, 3] * 50)


def test_a_broken_disk_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    journal = Journal(tmp_path, "w")
    journal.write("metric", step=0)
    journal.write("metric", step=1)
    assert journal.lost == 2


def test_what_json_has_no_number_for_is_kept_as_text(tmp_path: Path) -> None:
    Journal(tmp_path, "w").write("metric", values={"a": float("nan"), "b": float("-inf"), "c": 1.5}, path=Path("x"))
    line = (tmp_path / "journal" / "w.jsonl").read_text()
    event = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert event["values"] == {"a": "nan", "b": "-inf", "c": 1.5} and event["path"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@host/mlflow",
        "cannot reach https://hunter2@host:5000, gave up",
        "s3://key:hunter2@bucket/run",
        "https://host/x.tar?X-Amz-Date=1&X-Amz-Signature=hunter2&y=1",
        "GET /data?token=hunter2",
        "postgresql+psycopg://u:hunter2@db/mlflow",
        "Authorization: Bearer hunter2hunter2",
    ],
)
def test_secrets_are_not_written(tmp_path: Path, text: str) -> None:
    Journal(tmp_path, "w").write("run", command=text, params={"nested": [{text: text}]}, error=ValueError(text))
    assert "hunter2" not in (tmp_path / "journal" / "w.jsonl").read_text()


@pytest.mark.parametrize("writer", ["", "a/b", "../x", "a b"])
def test_a_writer_is_a_plain_name(tmp_path: Path, writer: str) -> None:
    with pytest.raises(ValueError, match="writer"):
        Journal(tmp_path, writer)
