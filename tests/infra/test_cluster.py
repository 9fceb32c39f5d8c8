"""Ray, for real: tasks and sweeps in parallel, killed workers, a killed head, and nothing left behind."""

from __future__ import annotations

import itertools
import os
import queue
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.backends.cluster import Cluster
from infra.backends.cluster.head import MAPPING
from infra.backends.cluster.resources import at_once
from infra.dag import ASHA, GPU, Node, Optuna, Plan, Random, Resources, call, grid, search, sweep, top
from infra.errors import BackendLost
from infra.finished import Finished
from infra.job import Site
from infra.runner import Runner
from infra.space import Uniform
from infra.store import Store
from infra.tracking.journal import events
from tests.infra.processes import await_end, descendants
from tests.infra.toys import add, climb, count, dies_at, dies_once, in_vain, interval, lasting, number, spread, strays, unlucky, visited

pytestmark = pytest.mark.cluster


class Shared(Cluster):
    """One Ray for many runs."""

    def start(self) -> None:
        if self.process is None:
            super().start()

    def stop(self, patience: float = 0.0) -> None:
        while True:  # what a run left unread is none of the next one's business
            try:
                self.events.get_nowait()
            except queue.Empty:
                return

    def end(self) -> None:
        super().stop(20.0)


class World:
    """A store, a backend, and the journal of the last run."""

    def __init__(self, folder: Path, backend: Cluster, every: float = 60.0) -> None:
        self.folder, self.backend, self.every, self.hung, self.runs = folder, backend, every, 0.0, 0
        self.store = Store(str(folder / "store"))
        self.store.prepare()

    def run(self, **targets: Node) -> Finished:
        self.runs += 1
        self.place = Site(self.store.url, self.store.place.at(f"runs/{self.runs}"), "", checkpoint_every=self.every, hung_after=self.hung)
        return Runner(self.store, self.backend, self.place, {}, self.watch).run(Plan(targets))

    def watch(self, event: str, node: Node | None, **facts: Any) -> None:
        pass

    def journal(self, kind: str) -> list[Any]:
        return [event for event in events(self.place.folder) if event["kind"] == kind]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    shared = Shared(cpus=2, log=str(tmp_path_factory.mktemp("ray") / "backend.log"))
    yield shared
    if shared.process is not None:
        before = descendants(shared.process.pid)
        shared.end()
        await_end(before)


@pytest.fixture
def world(tmp_path: Path, backend: Shared) -> World:
    return World(tmp_path, backend)


def overlap(intervals: list[list[float]]) -> bool:
    """Whether at any moment two of them were under way."""
    ordered = sorted(intervals)
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered))


def test_independent_tasks_run_side_by_side(world: World) -> None:
    nodes = {f"n{i}": call(interval, index=i, seconds=2.0) for i in range(4)}
    finished = world.run(**nodes)
    assert finished.exit_code == 0
    assert overlap([finished.value(node) for node in nodes.values()])


def test_the_trials_of_a_sweep_run_side_by_side(world: World) -> None:
    trials = sweep(interval, over=grid({"index": list(range(6))}), seconds=4.0)
    finished = world.run(**{f"n{i}": trial for i, trial in enumerate(trials)})
    intervals = [finished.value(trial) for trial in trials]
    assert finished.exit_code == 0 and overlap(intervals)
    assert not any(sum(a <= start < b for a, b in intervals) > 2 for start, _ in intervals)  # and never more than there are CPUs


def test_sweeps_at_the_same_time_keep_their_own_trials(world: World) -> None:
    """Tune's registry is one for the process, and knows a trainable by its name."""
    sums = {f"sum {k}": call(add, terms=sweep(number, over=grid({"value": [10 * k, 10 * k + 1]}))) for k in range(5)}
    finished = world.run(**sums)
    assert [finished.value(node) for node in sums.values()] == [20 * k + 1 for k in range(5)]


def test_packed_points_have_records_of_their_own(world: World) -> None:
    trials = sweep(number, over=grid({"value": list(range(5))}), pack=3)
    finished = world.run(sum=call(add, terms=trials))
    assert finished.value(finished.plan.targets["sum"]) == 10
    assert all(finished.record(trial) for trial in trials)


def test_a_killed_trial_is_tried_again_by_tune_and_goes_on_from_its_state(world: World) -> None:
    marker = str(world.folder / "marker")
    trials = sweep(dies_at, over=grid({"to": [8, 9]}), step=5, marker=marker)
    finished = world.run(a=trials[0], b=trials[1])
    assert finished.exit_code == 0 and finished.retries == 0  # it was Tune, not the runner
    assert [finished.value(trial) for trial in trials] == [[i * 0.1 for i in range(to)] for to in (8, 9)]
    assert [event["step"] for event in world.journal("restored")] == [6]
    steps = [(event["fingerprint"], event["step"]) for event in world.journal("metric")]
    assert len(steps) == len(set(steps)) == 17


def test_a_killed_task_is_tried_again(world: World) -> None:
    node = call(dies_once, marker=str(world.folder / "marker"), value=7)
    finished = world.run(x=node, y=call(number, value=1))
    assert finished.exit_code == 0 and finished.value(node) == 7 and finished.retries == 1


@pytest.mark.parametrize(("how", "told", "step"), [("told", "left", 6), ("hangs", "hung", 5)])
def test_a_trial_and_a_task_that_leave_or_hang_go_on_from_their_states(how: str, told: str, step: int, world: World) -> None:
    world.hung = 2.0
    given = {"step": 5, "how": how}
    trial = sweep(strays, over=grid({"to": [9]}), marker=str(world.folder / "trial"), **given)[0]
    task = call(strays, to=8, marker=str(world.folder / "task"), **given)
    finished = world.run(trial=trial, task=task)
    assert finished.exit_code == 0 and finished.value(trial)[:8] == finished.value(task) == [i * 0.1 for i in range(8)]
    assert [event["step"] for event in world.journal("restored")] == [step, step]
    assert len(world.journal(told)) == 2


def test_a_point_that_always_dies_costs_no_other_of_its_pack(world: World) -> None:
    trials = sweep(unlucky, over=grid({"index": list(range(4))}), bad=1, kind="killed", pack=4)
    finished = world.run(sum=call(add, terms=trials, at_least=3))
    assert finished.exit_code == 3 and finished.value(finished.plan.targets["sum"]) == 5
    assert finished.failures[finished.fingerprints.key(trials[1])].error.startswith("its process was lost 6 times")


def test_a_trial_that_always_dies_is_given_up_and_the_others_stand(world: World) -> None:
    trials = sweep(unlucky, over=grid({"index": [0, 1, 2]}), bad=1, kind="killed")
    total = call(add, terms=trials, at_least=2)
    finished = world.run(sum=total)
    assert finished.value(total) == 2 and finished.exit_code == 3
    (failure,) = finished.failures.values()
    assert "its process was lost 6 times" in failure.error


@pytest.mark.parametrize("kind", ["diverged", "value"])
def test_an_exception_of_a_trial_is_an_outcome(kind: str, world: World) -> None:
    trials = sweep(unlucky, over=grid({"index": [0, 1, 2, 3]}), bad=2, kind=kind)
    total = call(add, terms=trials, at_least=2)
    finished = world.run(sum=total, beside=call(number, value=1))
    assert finished.value(total) == 4 and finished.exit_code == 3
    failure = world.store.failure(finished.fingerprints.key(trials[2]))
    assert failure is not None and "unlucky" in failure["traceback"]


def test_a_component_that_maps_runs_its_items_as_tasks(world: World) -> None:
    node = call(spread, values=[1, 2, 3])
    assert world.run(x=node).value(node) == [2, 4, 6]


def test_items_take_the_run_along_and_their_errors_come_back_as_they_are(world: World) -> None:
    node = call(visited, on=GPU, visitors=3)
    assert world.run(x=node).value(node) == [2, *[[True, True, None, 1]] * 3]
    failure = next(iter(world.run(x=call(visited, on=GPU, visitors=8)).failures.values()))
    assert (failure.error, failure.kind, failure.code) == ("the seventh is damaged", "DataError", 5)


def test_when_an_item_fails_the_others_are_not_begun_and_none_goes_on(world: World, tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    failure = next(iter(world.run(x=call(in_vain, folder=str(tmp_path / "left"))).failures.values()))
    left = set((tmp_path / "left").iterdir())
    assert failure.kind == "DataError" and len(left) < 7
    time.sleep(3.0)
    assert set((tmp_path / "left").iterdir()) == left


def test_only_so_many_map_at_once(world: World) -> None:
    nodes = {f"n{i}": call(lasting, index=i) for i in range(3 * MAPPING)}
    finished = world.run(**nodes)
    intervals = [finished.value(node) for node in nodes.values()]
    assert max(sum(a <= start < b for a, b in intervals) for start, _ in intervals) <= MAPPING


@pytest.mark.parametrize(("cpus", "gpus", "expected"), [(1, 1, 3), (1, 0, 8), (0, 4, 1), (0, 0, 8)])
def test_as_much_is_tried_at_once_as_fits(cpus: float, gpus: float, expected: int) -> None:
    assert at_once({"num_cpus": cpus, "num_gpus": gpus}, {"CPU": 64.0, "GPU": 3.0}) == expected


@pytest.mark.parametrize(
    ("on", "reason"), [(Resources(gpus=8), "needs 8 GPU, this machine has 0"), (Resources(cpus=64), "needs 64 CPU, this machine has 2")]
)
def test_exact_resources_that_are_not_there_are_refused(on: Resources, reason: str, world: World) -> None:
    node, trials = call(number, on=on, value=1, label="big"), sweep(number, on=on, over=grid({"value": [2, 3]}), label="big")
    finished = world.run(x=node, y=trials[0], z=trials[1], w=call(number, value=4))
    assert finished.exit_code == 2 and finished.value(finished.plan.targets["w"]) == 4
    assert len(finished.failures) == 3
    assert all(reason in failure.error and "\n" not in failure.error for failure in finished.failures.values())


def test_an_accelerator_is_a_wish_where_there_is_none(world: World) -> None:
    nodes = sweep(number, on=GPU, over=grid({"value": [1, 2]}))
    finished = world.run(a=nodes[0], b=nodes[1], c=call(number, on=GPU, value=3))
    assert finished.exit_code == 0


class Assassin(Cluster):
    """Kills a process of its Ray once a training state is in the store."""

    def __init__(self, store: Path, victim: str, **options: Any) -> None:
        super().__init__(cpus=2, **options)
        self.store, self.victim, self.killed = store, victim, 0.0
        self.family: dict[int, str] = {}

    def next(self, timeout: float) -> tuple[str, Any] | None:
        if not self.killed and list(self.store.glob("count-*/state/*.json")):
            self.family = descendants(self.process.pid)
            (pid,) = [pid for pid, name in self.family.items() if self.victim in name.split(" ")[0]]
            self.killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
        return super().next(timeout)


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_a_killed_head_is_reported_and_the_same_command_goes_on(victim: str, tmp_path: Path) -> None:
    trials = sweep(count, over=grid({"to": [60, 61]}), pause=0.3)
    sums = {"a": trials[0], "b": trials[1]}
    assassin = Assassin(tmp_path / "store", f"/{victim}", log=str(tmp_path / "backend.log"))
    world = World(tmp_path, assassin, every=0.2)
    with pytest.raises(BackendLost) as caught:
        world.run(**sums)
    assert caught.value.exit_code == 4 and str(tmp_path / "backend.log") in str(caught.value)
    assert not list((tmp_path / "store").glob("count-*/failure.json"))  # it is not the trials that failed
    await_end(assassin.family)

    backend = Cluster(cpus=2, log=str(tmp_path / "backend.log"))
    world.backend = backend
    finished = world.run(**sums)
    assert finished.exit_code == 0
    assert [finished.value(trial) for trial in trials] == [[float(i) for i in range(to)] for to in (60, 61)]
    assert min(event["step"] for event in world.journal("restored")) > 0


def test_a_ray_that_cannot_start_is_one_line_with_its_log(tmp_path: Path) -> None:
    world = World(tmp_path, Cluster(address="127.0.0.1:1", log=str(tmp_path / "backend.log")))
    with pytest.raises(BackendLost) as caught:
        world.run(x=call(number, value=1))
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert "no Ray answers at 127.0.0.1:1" in str(caught.value) and str(tmp_path / "backend.log") in str(caught.value)
    assert "Traceback" in (tmp_path / "backend.log").read_text()


def test_a_search_stops_trials_side_by_side_and_is_all_hits_the_second_time(world: World) -> None:
    """One trial's process is killed on the way: Tune makes it again, and it goes on from its state."""
    marker = world.folder / "marker"
    given: dict[str, Any] = {"over": {"slope": Uniform(0.0, 1.0)}, "n": 10, "scheduler": ASHA(16, 2, 2), "searcher": Optuna(1), "monitor": 1}
    node = search(climb, to=16, marker=str(marker), **given)
    best = top(node, 3, stopped=True)
    finished = world.run(**{str(i): each for i, each in enumerate(best)})
    trials = finished.value(node)
    assert finished.exit_code == 0 and finished.retries == 0 and marker.exists() and len(world.journal("restored")) == 1
    assert [trial["index"] for trial in trials] == list(range(10)) and {trial["state"] for trial in trials} == {"done", "stopped"}
    for trial in trials:
        assert world.store.load(trial["key"]) == [trial["point"]["slope"] * step for step in range(1, trial["step"] + 1)]
    ranked = sorted((trial for trial in trials), key=lambda trial: (-trial["value"], trial["index"]))
    assert [finished.value(each)[-1] for each in best] == [trial["value"] for trial in ranked[:3]]
    assert set(world.run(s=node, **{str(i): each for i, each in enumerate(best)}).state.values()) == {"hit"}
    Path(world.store.url, finished.fingerprints.key(node), "record.json").unlink()
    world.store.forget([finished.fingerprints.key(node)])
    assert world.run(s=node).value(node) == trials and not world.journal("running")  # every trial was recorded


def test_a_trial_of_a_search_that_always_dies_is_given_up_and_the_others_stand(world: World) -> None:
    node = search(climb, to=2, marker="always", over={"slope": Uniform(0.0, 1.0)}, n=3, searcher=Random(3), monitor=1)
    trials = world.run(s=node).value(node)
    assert [trial["state"] for trial in trials] == ["done", "failed", "done"] and "its process was lost 6 times" in trials[1]["error"]


def test_asha_decides_as_tune_does(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from ray.tune.schedulers import ASHAScheduler

    from infra.search import Rungs

    chance = random.Random(0)
    for grace, reduction, top_step in ((1, 4, 100), (3, 2, 50), (10, 3, 81)):
        theirs = ASHAScheduler("step", "value", "max", max_t=top_step, grace_period=grace, reduction_factor=reduction)
        ours, going = Rungs(ASHA(top_step, grace, reduction)), {trial: 0 for trial in range(60)}
        for trial in going:
            theirs.on_trial_add(None, SimpleNamespace(trial_id=str(trial)))
        while going:
            trial = chance.choice(list(going))
            going[trial] += chance.choice((1, 1, 1, 5))
            value = round(chance.gauss(0, 1), 2)
            stop = theirs.on_trial_result(None, SimpleNamespace(trial_id=str(trial)), {"step": going[trial], "value": value}) == "STOP"
            assert ours.look(trial, going[trial], value) == stop
            if stop:
                del going[trial]
