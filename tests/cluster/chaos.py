"""The soup study on a cluster whose parts are killed, by schedules that are drawn from seeds; each ends with the digests of an undisturbed run.

    python -m tests.cluster.chaos 20            # seeds 0 to 19
    python -m tests.cluster.chaos 40:50         # some of them

A schedule strikes two to four times, each once so many nodes are recorded: a process that works on a trial or a task, a node, the driver, MLflow
or the object store, always by SIGKILL. A node is replaced, a server is started again after a while, and where the command was killed, or ended
with exit code 4, it is given again. One that ends with 3 owes events to MLflow, which `infra.tracking.mirror` then sends.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.world import SOUP, World, world
from tests.infra.processes import await_end, descendants

VICTIMS = ("worker", "node", "driver", "mlflow", "s3")
NODES = 2
COMMANDS = 8  # more than a schedule can make necessary


@dataclass(frozen=True)
class Strike:
    """What is struck once `after` nodes are recorded, and the seconds until a server is started again."""

    victim: str
    after: int
    pause: float

    def __str__(self) -> str:
        return f"{self.victim} at {self.after}"


def drawn(seed: int, records: int) -> list[Strike]:
    """The strikes of a seed upon a study of so many nodes; the last comes while a quarter of them is left."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(1, records * 3 // 4), chance.randint(2, 4)))
    return [Strike(chance.choice(VICTIMS), after, round(chance.uniform(0.0, 4.0), 1)) for after in moments]


@dataclass
class Chaos:
    """The parts, and what an undisturbed run ended with."""

    world: World
    undisturbed: dict[str, str]
    pool: ThreadPoolExecutor
    starting: list[Future[None]] = field(default_factory=list)

    def run(self, seed: int) -> str:
        """What happened with a seed, in one line. AssertionError where it did not end as it should."""
        started, store, strikes = time.monotonic(), f"chaos-{seed}-{time.time_ns()}", drawn(seed, len(self.undisturbed))
        self.world.complete(NODES)
        self.world.tracking()
        left, chance, codes = deque(strikes), random.Random(seed), list[int]()
        family: dict[int, str] = {}
        while not codes or codes[-1] not in (0, 3):
            assert len(codes) < COMMANDS, f"it does not end: {codes}"
            with self.world.command(store, SOUP, tracking=self.world.mlflow.url) as process:
                while left and process.poll() is None:
                    family |= descendants(process.pid)
                    if self._met(store, left[0]) and self._strike(left[0], process, chance):
                        left.popleft()
                    time.sleep(0.2)
                family |= descendants(process.pid)
                codes.append(self.world.ended(process, store, 3, 4, -signal.SIGKILL))
        self._settle()
        assert len(left) < len(strikes), "nothing was struck"
        if codes[-1] == 3:
            self._send(store)
        self._check(store, family)
        missed = f", too late for {' and '.join(map(str, left))}" if left else ""
        told = f"{', '.join(map(str, strikes))}{missed}; commands ended with {', '.join(map(str, codes))}"
        return f"seed {seed}: {told}; {time.monotonic() - started:.0f} s; equal digests"

    def _met(self, store: str, strike: Strike) -> bool:
        return len(self.world.keys(store, "/record.json")) >= strike.after

    def _strike(self, strike: Strike, process: subprocess.Popen[bytes], chance: random.Random) -> bool:
        """Whether there was anything to strike."""
        nodes = self.world.nodes
        if strike.victim == "driver":
            process.kill()
        elif strike.victim == "s3":
            self.world.server.kill()
            time.sleep(strike.pause)
            self.world.server.start()
        elif strike.victim == "mlflow":
            self._settle()
            self.world.mlflow.kill()
            self.starting.append(self.pool.submit(self._revive, strike.pause))
        elif not (at_work := nodes.at_work()):
            return False
        elif strike.victim == "node":
            nodes.kill(chance.choice(at_work))
            nodes.add()
        else:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(chance.choice(at_work).workers), signal.SIGKILL)
                return True
            return False
        return True

    def _revive(self, pause: float) -> None:
        time.sleep(pause)
        self.world.mlflow.start()

    def _settle(self) -> None:
        """MLflow is up again."""
        while self.starting:
            self.starting.pop().result()

    def _send(self, store: str) -> None:
        """What a command owes."""
        for journal in sorted((self.world.folder / store / "STOCKPOT_STATE").glob("*/runs/*/journal")):
            with self.world.begin(store, ["infra.tracking.mirror", str(journal.parent), "--tracking", self.world.mlflow.url]) as process:
                self.world.ended(process, store)

    def _check(self, store: str, family: dict[int, str]) -> None:
        await_end(family, 60)
        self.world.nodes.await_rest(60)
        assert self.world.digests(store) == self.undisturbed, "other digests"
        with self.world.command(store, ["verify"]) as process:
            self.world.ended(process, store)


@contextlib.contextmanager
def chaos(made: World) -> Iterator[Chaos]:
    """The parts in a world, with an undisturbed run behind them."""
    made.finish("undisturbed", ray="none")
    with ThreadPoolExecutor(1) as pool:
        yield Chaos(made, made.digests("undisturbed"), pool)


def main(asked: str) -> int:
    """How many schedules did not end as they should; a line is printed for each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a plain `kill` would leave servers behind
    first, _, last = asked.rpartition(":")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="sp-") as folder, world(Path(folder), NODES) as made, chaos(made) as found:
        for seed in range(int(first or 0), int(last)):
            try:
                print(found.run(seed), flush=True)
            except AssertionError as error:
                wrong += 1
                strikes = ", ".join(map(str, drawn(seed, len(found.undisturbed))))
                print(f"seed {seed}: {strikes}; FAILED: {error}", flush=True)
    print(f"{wrong} of {int(last) - int(first or 0)} schedules failed")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:])))
