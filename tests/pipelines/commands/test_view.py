"""Progress: the time to go follows what is known, and a log gets plain lines."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from components.types import revision
from infra.dag import Fingerprints, Plan, call, grid, sweep
from infra.schedule import Schedule
from infra.tracking.journal import Journal
from pipelines.commands.eta import USUAL, Eta
from pipelines.commands.text import clock, columns, size
from pipelines.commands.view import FEW, TRIALS, View
from tests.infra.toys import paired, unlucky, walk
from tests.infra.world import World

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


@revision(1)
def one(i: int) -> int:
    return i


@revision(1)
def two(values: list[int]) -> int:
    return sum(values)


def schedule(n: int) -> tuple[Schedule, list[str]]:
    nodes = [call(one, i=i) for i in range(n)]
    key = Fingerprints().key
    return Schedule(Plan({"all": call(two, values=nodes)}), key, lambda names: ()), [key(node) for node in nodes]


def test_records_of_earlier_runs_tell_before_anything_has_finished() -> None:
    eta = Eta(lambda node: 10.0 if node.function == "one" else 2.0)
    plan, _ = schedule(4)
    assert eta.remaining(plan, {}) == 42.0
    eta.workers = 2
    assert eta.remaining(plan, {}) == 21.0


def test_what_finished_in_this_run_outweighs_records() -> None:
    eta = Eta(lambda node: 10.0 if node.function == "one" else 2.0)
    plan, keys = schedule(4)
    eta.finished(plan.nodes[keys[0]], 1.0)
    plan.finish(keys[0], "done")
    assert eta.remaining(plan, {}) == 3 * 1.0 + 2.0


def test_a_first_run_says_nothing_until_a_stage_of_the_kind_that_runs_has_finished() -> None:
    eta, (plan, keys) = Eta(), schedule(3)
    plan.start(keys[0])
    assert eta.remaining(plan, {}) is None
    eta.finished(plan.nodes[keys[0]], 4.0)
    plan.finish(keys[0], "done")
    assert eta.remaining(plan, {}) == 2 * 4.0 + USUAL


@given(st.lists(st.floats(0, 3), min_size=4, max_size=4), st.booleans(), st.floats(0, 64))
def test_the_time_to_go_is_never_negative(shares: list[float], known: bool, workers: float) -> None:
    plan, keys = schedule(4)
    for key in keys:
        plan.start(key)
    eta = Eta((lambda node: 3.0) if known else (lambda node: None))
    eta.workers = workers
    left = eta.remaining(plan, dict(zip(keys, shares, strict=True)))
    assert left is None or left >= 0


def test_numbers_for_people() -> None:
    assert [clock(value) for value in (None, -3, 7.4, 119.6, 3661)] == ["?", "0:00", "0:07", "2:00", "1 h 01"]
    assert [size(value) for value in (None, 17, 2_005_036, 1.4e9, 3e15)] == ["?", "17 B", "2.0 MB", "1.4 GB", "3000 TB"]
    assert columns([["a", "b"], ["long", "1"]], right=(1,)) == ["a     b", "long  1"]


def test_a_log_has_a_line_for_each_kind_of_stage_and_quiet_has_the_result_alone(stockpot: Stockpot, copy: Path) -> None:
    for path in copy.glob("tabulate-*/record.json"):
        path.unlink()
    words = ["run", "soup", "smoke", "--store", copy, "--ray", "none", "--tracking", "none"]
    done = stockpot(*words)
    assert done.returncode == 0 and "1 stage to run" in done.stdout and "✓ tabulate" in done.stdout and "\x1b" not in done.stdout
    for path in copy.glob("tabulate-*/record.json"):
        path.unlink()
    quiet = stockpot(*words, "--quiet")
    assert quiet.returncode == 0 and "✓" not in quiet.stdout and "stages" not in quiet.stdout and "digits %" in quiet.stdout


def test_a_failure_is_told_once_with_what_it_keeps_from_running(stockpot: Stockpot, tmp_path: Path) -> None:
    (tmp_path / "images" / "only").mkdir(parents=True)
    (tmp_path / "images" / "only" / "a.png").write_bytes(b"no image")
    words = ["--task", "Own", "--task.url", tmp_path / "images", "--ray", "none", "--tracking", "none", "--quiet"]
    done = stockpot("run", "soup", "smoke", "--store", tmp_path / "store", *words)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("stockpot: zero_shot failed: Folder") and "one class folder (only)" in first
    assert "stages that need them were not run" in second and "the same command goes on" in second


def test_a_failure_without_some_members_is_told_by_its_title(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lacks members has another key than the plan's."""
    world, trials = World(tmp_path), sweep(unlucky, over=grid({"index": [0, 1, 2]}), bad=1)
    view = View()
    world.watch = view.watch  # type: ignore[method-assign]
    view.begin(str(tmp_path), lambda: None, lambda node: None)
    view.end(world.run(pairs=call(paired, left=trials, right=[1.0, 2.0, 3.0], at_least=2, label="the pairs")))
    assert "the pairs failed: zip()" in capsys.readouterr().err


def test_ten_thousand_trials_fit_on_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixty-four at work, and every third of them fails alike."""
    trials = sweep(walk, over=grid({"start": list(range(10_000))}), steps=100, pack=50)
    prints = Fingerprints()
    plan = Plan({"all": call(paired, left=trials, right=list(range(10_000)), at_least=1)})
    view, known = View(), Schedule(plan, prints.key, lambda names: ())
    view.begin(str(tmp_path), lambda: None, lambda node: None)
    view.watch("plan", None, schedule=known, plan=plan)
    view.watch("ready", None, value={"cpus": 64, "gpus": 0})
    for trial in trials:
        known.start(prints.key(trial))
        view.watch("queued", trial)
    with closing(Journal(tmp_path, "worker")) as journal:
        for trial in trials[:364]:
            journal.write("metric", fingerprint=prints.of(trial), step=50, values={"height": 1.0})
    view._follow()
    for i, trial in enumerate(trials[:300]):
        state = "done" if i % 3 else "failed"
        known.finish(prints.key(trial), state)
        view.watch(state, trial, seconds=10.0, error="loss is nan")
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(view._table())
    table = captured.get().splitlines()
    assert len(table) == 1 + TRIALS + 1 and "300/10000" in table[0] and sum("step 50/100" in line for line in table) == TRIALS
    assert "100 failed" in table[-1] and "to go" in table[-1]
    view.__exit__()
    told = capsys.readouterr().out.splitlines()
    assert sum("✗" in line for line in told) == FEW + 1 and "95 more failed, the last: walk 297: loss is nan" in told[-1]


def test_workers_that_leave_or_hang_are_told_though_tune_begins_their_trials_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials, prints = sweep(walk, over=grid({"start": [0, 1]}), steps=100), Fingerprints()
    plan = Plan({"all": call(paired, left=trials, right=[0, 1], at_least=1)})
    view, known = View(), Schedule(plan, prints.key, lambda names: ())
    view.begin(str(tmp_path), lambda: None, lambda node: None)
    view.watch("plan", None, schedule=known, plan=plan)
    for trial in trials:
        view.watch("queued", trial)
    with closing(Journal(tmp_path, "worker")) as journal:
        journal.write("left", fingerprint=prints.of(trials[0]), step=7, host="there", kept=True)
        journal.write("hung", fingerprint=prints.of(trials[1]), step=7, seconds=1800, host="here")
    view._follow()
    view._follow()
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"  ↻ {trials[0].title}: its worker was told to leave at step 7 on there; it goes on from its last state",
        f"  ↻ {trials[1].title}: no step for 1800 s (--hung_after) on here; it goes on from its last state",
    ]


def test_machines_that_come_later_are_told_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    view, most = View(), {"most_cpus": 16, "most_gpus": 2, "address": "here:1"}
    view.watch("ready", None, value={"cpus": 0, "gpus": 0, **most})
    view.watch("pending", None, value="trial 0 needs 1 GPU, the cluster has 0 GPU; it can grow to 16 CPU and 2 GPU")
    for cpus, gpus in ((0, 0), (8, 1), (16, 2)):
        view.watch("capacity", None, value={"cpus": cpus, "gpus": gpus, **most})
    view.watch("ready", None, value={"cpus": 2, "gpus": 0, "address": "local"})
    assert capsys.readouterr().out.splitlines() == [
        "no worker is there yet; it can grow to 16 CPUs, 2 GPUs",
        "  … pending: trial 0 needs 1 GPU, the cluster has 0 GPU; it can grow to 16 CPU and 2 GPU",
        "workers are ready after 0:00: 8 CPUs, 1 GPUs; it can grow to 16 CPUs, 2 GPUs",
        "workers are ready after 0:00: 2 CPUs; no accelerator, so GPU stages run on CPUs",
    ]
    assert view.eta.workers == 2
    View(wish=99).watch("ready", None, value={"cpus": 2, "gpus": 0, "address": "local"})
    assert capsys.readouterr().out.endswith("so GPU stages run on CPUs: none gets the 99 of --on.gpus, which --on.exact true would refuse\n")
