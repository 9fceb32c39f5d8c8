"""What a run would cost, and the limit above which it asks."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.dag import ASHA, CPU, GPU, Fingerprints, Node, Plan, Resources, call, search, top
from infra.space import Uniform
from infra.store import Record, Store
from pipelines.commands.calibrate import measure, measured
from pipelines.commands.cost import Cost, Rate, prices, told
from pipelines.commands.plan import Outlook
from tests.infra.toys import climb, number, tensor, walk, weigh
from tests.pipelines.commands.conftest import Stockpot, line
from tests.pipelines.commands.test_plan import planned

RATES = "gpu: 3.0\ncpu: {price: 0.2, stages: 4}\n"


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    (tmp_path / "prices.yaml").write_text(RATES)
    return tmp_path / "prices.yaml"


def done(store: Store, node: Node, seconds: float, size: int = 0) -> None:
    """Publish a record of a node that was never computed."""
    prints = Fingerprints()
    result = {"type": "x:X", "attempt": "a", "files": [{"name": "f", "size": size, "digest": "d"}]}
    inputs = {prints.key(child): "d" for child in Plan({"": node}).nodes() if child is not node}
    key, arguments = prints.key(node), prints.arguments(node)
    store.publish(Record(key, "x", prints.of(node), 1, arguments, inputs, result, seconds=seconds, host="here"))


def test_node_hours_are_shares_of_nodes_and_money_is_their_price() -> None:
    cost = Cost({"gpu": Rate(3.0), "cpu": Rate(0.2, 4)})
    for on, seconds in ((GPU, 3600), (Resources(gpus=2), 1800), (CPU, 7200), (Resources(cpus=2), 3600)):
        cost.add("f", on, seconds, ["a"])
    assert cost.hours == {"gpu": 2.0, "cpu": 1.0} and cost.money == pytest.approx(2 * 3.0 + 0.2)
    cost.add("train", Resources(gpus=1, workers=4), 900, [])
    assert cost.hours["gpu"] == 3.0
    assert Cost().money is None and not told(Cost().facts())


def test_without_a_price_of_accelerators_stages_fall_back_to_cpus_unless_they_may_not() -> None:
    cost = Cost({"cpu": Rate(0.2)})
    cost.add("f", GPU, 3600, [])
    assert cost.money == pytest.approx(0.2)
    cost.add("f", Resources(gpus=1), 3600, [])
    with pytest.raises(ValueError, match="none for gpu"):
        _ = cost.money


def test_a_stage_reads_its_inputs_each_and_writes_what_its_relatives_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    small, large = (call(tensor, n=n) for n in (10, 20))
    done(store, small, 1, size=400)
    done(store, large, 2, size=800)
    done(store, call(weigh, things=[small, large]), 9, size=70)
    outlook = Outlook(store, Plan({"both": call(weigh, things=[large, small]), "twice": call(weigh, things=[large, large])}))
    outlook.stages()
    assert outlook.cost.read == 400 + 800 + 800 and outlook.cost.written == 70, "one of them has other roots, and no relative"
    assert outlook.cost.hours == {"cpu": 9 / 3600} and outlook.cost.unknown == {"weigh": 1} and list(outlook.cost.hosts) == ["here"]


def test_a_search_takes_at_most_what_all_of_its_trials_take_to_the_end(tmp_path: Path) -> None:
    store, to = Store(str(tmp_path)), call(number, value=9)
    found = search(climb, over={"slope": Uniform(0.0, 1.0)}, n=7, scheduler=ASHA(9, 2, 2), monitor=1, to=to)
    plan = Plan({"best": call(weigh, things=top(found, 2))})
    outlook = Outlook(store, plan)
    outlook.stages()
    assert [(node.function, node.search) for node in outlook.unknown() if "slope" in node.arguments] == [("climb", None)], "one trial is measured"
    done(store, to, 1, size=0)
    done(store, call(climb, to=to, slope=0.5, monitor=1), 90, size=30)
    outlook = Outlook(store, plan)
    (row,) = [row for row in outlook.stages() if row.function == "search"]
    assert (row.seconds, row.bytes) == (7 * 90, 7 * 30) and outlook.cost.read == 2 * 30, "each of the best is a copy of one"
    assert [note for note in outlook.notes if note.startswith("a search counts with all of its trials")]


def test_a_plan_tells_node_hours_bytes_and_money(stockpot: Stockpot, soup: Path, rates: Path) -> None:
    words = ("soup", "smoke", "--store", soup, "--trials", "5")
    plain, priced = planned(stockpot, *words), planned(stockpot, *words, "--prices", rates)
    hours = plain["cost"]["hours"]
    assert sum(hours.values()) * 3600 == pytest.approx(plain["seconds"]) and plain["cost"]["money"] is None
    assert priced["cost"]["money"] == pytest.approx(3 * hours["gpu"] + 0.2 * hours["cpu"] / 4)
    assert plain["cost"]["written"] == plain["bytes"] < plain["cost"]["read"]
    text = stockpot("plan", *words, "--prices", rates).stdout
    assert "gpu node-hours" in text and "at the prices given" in text and f"on {os.uname().nodename}" in text


@pytest.mark.parametrize("text", ["tpu: 3", "gpu: free", "gpu: -1", "gpu: {stages: 2}", "cpu: {price: 1, stages: 0}", "gpu: .nan", "- 3", ""])
def test_what_is_no_price_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"prices\.yaml: .*(write lines like|there are gpu and cpu)"):
        prices(str(tmp_path / "prices.yaml"))


def test_above_a_limit_nothing_begins_unless_somebody_says_so(stockpot: Stockpot, soup: Path, rates: Path) -> None:
    before = sorted(soup.rglob("*"))
    words = ("run", "soup", "smoke", "--store", soup, "--ray", "none", "--tracking", "none")
    for limit in (("--limit", "0", "--prices", rates), ("--limit_hours", "1e-6")):
        refused = stockpot(*words, "--trials", "5", *limit)
        assert refused.returncode == 2 and f"more than {limit[0]} " in line(refused) and "--yes" in line(refused)
    assert "--prices" in line(stockpot(*words, "--limit", "5"))
    assert sorted(soup.rglob("*")) == before
    assert stockpot(*words, "--limit_hours", "0").returncode == 0, "what is there costs nothing"


def test_a_run_whose_cost_is_not_known_asks(stockpot: Stockpot, copy: Path) -> None:
    shutil.rmtree(next(copy.glob("tabulate-*")))
    words = ("run", "soup", "smoke", "--store", str(copy), "--ray", "none", "--tracking", "none", "--limit_hours", "5")
    assert "no record tells how long tabulate (1) will take" in line(stockpot(*words))
    for answer, code in (("n", 2), ("y", 0)):
        assert asked(answer, copy.parent / "cache", *words) == code
        assert bool(list(copy.glob("tabulate-*/record.json"))) == (code == 0)


def asked(answer: str, cache: Path, *words: str) -> int:
    """The exit code of a command on a terminal on which somebody types an answer."""
    leader, follower = pty.openpty()
    own = {"TERM": "xterm", "STOCKPOT_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    env = {name: value for name, value in os.environ.items() if name != "CI"} | own
    command = [sys.executable, "-m", "pipelines", *words]
    with subprocess.Popen(command, stdin=follower, stderr=follower, stdout=subprocess.DEVNULL, env=env) as process:
        os.close(follower)
        os.write(leader, f"{answer}\n".encode())
        try:
            while os.read(leader, 4096):  # a terminal that nobody reads fills up
                pass
        except OSError:  # its other end is closed
            pass
    os.close(leader)
    return process.returncode


def test_a_calibration_measures_two_lengths_and_leaves_no_node_in_the_store(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.prepare()
    base = call(number, value=1.0)
    walks = [call(walk, start=call(walk, start=base, steps=900 + i), steps=1000) for i in range(4)]
    plan = Plan({"all": call(weigh, things=walks), "one": walks[0]})
    outlook = Outlook(store, plan)
    outlook.stages()
    assert outlook.cost.unknown == {"number": 1, "walk": 8, "weigh": 1}
    measure(store, plan, outlook.unknown())
    own = measured(store)
    found = [record for key in own.keys() if (record := own.record(key))]  # noqa: SIM118 (a method of the store)
    kinds = sorted((record.key.split("-")[0], record.arguments.get("steps", 0)) for record in found)
    assert kinds == [("number", 0), ("walk", 4), ("walk", 4), ("walk", 20), ("walk", 20)]
    assert store.keys() == []
    outlook = Outlook(store, plan)
    outlook.stages()
    assert outlook.cost.unknown == {"weigh": 1}, "it needs more trials than a calibration trains"
