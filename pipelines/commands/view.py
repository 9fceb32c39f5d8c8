"""Progress: on a terminal one live table with an ETA and a line for each finished stage; in a log, plain lines."""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from infra import settings
from infra.finished import Finished
from infra.node import Node
from infra.schedule import OPEN, Schedule
from infra.tracking.journal import read
from pipelines.commands.eta import Eta, Expected
from pipelines.commands.text import clock, counted

NAMED = 5  # failures that the end of a run names
FEW = 5  # lines of one kind that are told as they come; of 10,000 trials hundreds may fail alike, and are counted then
TRIALS = 8  # running trials with a line of their own
LOG, LIVE = 15.0, 0.5  # seconds between two lines of a log, and between two pictures on a terminal
SHARE = 0.05  # of the driver's time, at most, that telling a person takes


class View:
    """Watches a run and tells a person; `watch` is what the runner calls."""

    def __init__(self, quiet: bool = False, wish: float = 1) -> None:
        self.quiet, self.wish = quiet, wish  # GPUs that stages are to get
        self.live: Any = None
        self.console: Any = None
        self.schedule: Schedule | None = None
        self.started = self.drawn = self.summed = time.monotonic()
        self.cost = 0.0  # seconds of the last look
        self.eta = Eta()
        self.waited: set[str] = set()  # for whom
        self.told: Counter[str] = Counter()  # lines of each kind
        self.untold: dict[str, tuple[int, str]] = {}  # kind -> how many since the last that was told, the newest
        self.progress: dict[str, tuple[int, int]] = {}  # fingerprint -> step, steps
        self.since: dict[str, int] = {}
        self.steps: dict[str, tuple[str, str, int]] = {}  # fingerprint of a training that is under way -> key, title, steps
        self.unsaved: set[str] = set()  # fingerprints whose states the store did not take
        self.hit = 0

    def begin(self, folder: str, on_start: Callable[[], None], expected: Expected) -> None:
        """Before the run: its folder, what to do once something must be computed, and what earlier runs say of a stage's seconds."""
        self.folder, self.on_start, self.eta = folder, on_start, Eta(expected)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *problem: object) -> None:
        self._sum()
        if self.live is not None:
            self.live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line, above the live table where there is one."""
        if self.quiet:
            return
        if self.console is not None:
            self.console.print(text, style=style, highlight=False)
        else:
            print(text, flush=True)

    def some(self, mark: str, what: str, text: str, style: str) -> None:
        """A line `mark text` of which there may be very many: the first few, then from time to time how many more `what`, and the newest."""
        self.told[f"{mark} {what}"] += 1
        if self.told[f"{mark} {what}"] <= FEW:
            self.say(f"  {mark} {text}", style)
        else:
            self.untold[f"{mark} {what}"] = (self.untold.get(f"{mark} {what}", (0, ""))[0] + 1, text)

    def _sum(self) -> None:
        self.summed = time.monotonic()
        for kind, (count, text) in self.untold.items():
            mark, what = kind.split(" ", 1)
            self.say(f"  {mark} {count} more {what}, the last: {text}", "yellow")
        self.untold.clear()

    def watch(self, event: str, node: Node | None, **facts: Any) -> None:
        handler = getattr(self, f"_{event}", None)
        if handler is not None:
            handler(node, **facts)

    def _plan(self, node: Node | None, schedule: Schedule, plan: Any) -> None:
        self.schedule = schedule
        self.hit = schedule.count("hit")
        if not schedule.unfinished():
            return
        self.on_start()
        self.started = time.monotonic()
        if settings.on_terminal() and not self.quiet:
            from rich.console import Console
            from rich.live import Live

            self.console = Console()
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        pending = schedule.count("pending")
        there = f", {self.hit} of those needed are there already" if self.hit else ""
        self.say(f"{counted(pending, 'stage')} to run{there}; starting workers")

    def _ready(self, node: Node | None, value: Mapping[str, Any]) -> None:
        least, most = ((value.get(f"{kind}cpus", 0), value.get(f"{kind}gpus", 0)) for kind in ("", "most_"))
        wish = "" if self.wish == 1 else f": none gets the {self.wish:g} of --on.gpus, which --on.exact true would refuse"
        gpus = f", {least[1]:g} GPUs" if least[1] else "" if any(most[1:]) else f"; no accelerator, so GPU stages run on CPUs{wish}"
        grows = f"; it can grow to {most[0]:g} CPUs, {most[1]:g} GPUs" if most > least else ""
        there = f"workers are ready after {clock(time.monotonic() - self.started)}: {least[0]:g} CPUs{gpus}"
        self.eta.workers = least[0]
        self.say((there if any(least) else "no worker is there yet") + grows, "dim")

    def _capacity(self, node: Node | None, value: Mapping[str, Any]) -> None:
        before, self.eta.workers = self.eta.workers, value["cpus"]
        if self.eta.workers and not before:
            self._ready(node, value)

    def _pending(self, node: Node | None, value: str) -> None:
        self.say(f"  … pending: {value}", "yellow")

    def _queued(self, node: Node) -> None:
        assert self.schedule is not None
        steps, key = node.arguments.get("steps"), self.schedule.key(node)
        if isinstance(steps, int):
            self.steps[key.rsplit("-", 1)[-1]] = (key, node.title, steps)

    def _done(self, node: Node, seconds: float, **facts: Any) -> None:
        assert self.schedule is not None
        self.eta.finished(node, seconds)
        self._over(node)
        if not any(self.schedule.counts[node.function][state] for state in OPEN):
            times = self.eta.spent[node.function]
            count = f"{len(times)} x " if len(times) > 1 else ""
            self.say(f"  ✓ {node.function:<16} {count}{sum(times) / len(times):.1f} s", "green")

    def _failed(self, node: Node, error: str, **facts: Any) -> None:
        self._over(node)
        self.some("✗", "failed", f"{node.title}: {error}", "red")

    def _over(self, node: Node) -> None:
        assert self.schedule is not None
        fingerprint = self.schedule.key(node).rsplit("-", 1)[-1]
        self.progress.pop(fingerprint, None)
        self.steps.pop(fingerprint, None)

    def _retry(self, node: Node, reason: str) -> None:
        self.some("↻", "are tried again", f"{node.title}: {reason}; trying again", "yellow")

    def _waiting(self, node: Node, holder: str) -> None:
        text = f"  … waiting for {holder}, which computes {node.title}"
        if holder not in self.waited:
            self.waited.add(holder)
            self.say(text, "yellow")

    def _attached(self, node: Node | None, leader: str) -> None:
        self.say(f"attached: {leader} runs this study; what it finishes is picked up here, and where it ends this command goes on", "yellow")
        self.waited.add(leader)

    def _lapsed(self, node: Node | None) -> None:
        self.say("  … the store takes no heartbeats: nothing more is begun until it does, since others may take this run for dead", "yellow")

    def _stopping(self, node: Node | None) -> None:
        self.say("stopping: trainings keep their states first, for some seconds; a second Ctrl-C does not wait for them", "yellow")

    def _damaged(self, node: Node, reason: str) -> None:
        self.some("↻", "are computed again", f"{node.title}: {reason}; it is computed again", "yellow")

    def _tick(self, node: Node | None) -> None:
        began = time.monotonic()
        if began - self.drawn < max(LIVE if self.live else LOG, self.cost / SHARE) or self.schedule is None:
            return
        self._follow()
        if began - self.summed > LOG:
            self._sum()
        if self.live is not None:
            self.live.update(self._table())
        elif not self.quiet:
            done, total = self._counts()
            self.say(f"  {done} of {total} stages after {self._times()}")
        self.drawn = time.monotonic()
        self.cost = self.drawn - began

    def _follow(self) -> None:
        assert self.schedule is not None
        for line in read(self.folder, self.since):
            self.since[line.writer] = line.end
            fingerprint = line.event.get("fingerprint")
            if line.event.get("kind") == "metric" and fingerprint in self.steps:
                self.progress[fingerprint] = (int(line.event["step"]), self.steps[fingerprint][2])
            elif line.event.get("kind") in ("left", "hung") and fingerprint in self.steps:
                self._interrupted(self.steps[fingerprint][1], line.event)
            elif line.event.get("kind") == "unsaved" and fingerprint in self.steps and fingerprint not in self.unsaved:
                self.unsaved.add(fingerprint)
                name = self.steps[fingerprint][1]
                where = f"its state is on the disk of {line.event['host']} only, and the next is tried again"
                self.some("!", "could not save a state", f"{name}: {line.event['reason']}; {where}", "yellow")

    def _interrupted(self, title: str, event: Mapping[str, Any]) -> None:
        """A worker that left, or hung; where it was at a trial, Ray Tune begins that again, and no retry tells of it."""
        hung = f"no step for {event.get('seconds')} s (--hung_after)"
        why = hung if event["kind"] == "hung" else f"its worker was told to leave at step {event.get('step')}"
        self.some("↻", "go on elsewhere", f"{title}: {why} on {event.get('host')}; it goes on from its last state", "yellow")

    def _counts(self) -> tuple[int, int]:
        assert self.schedule is not None
        return self.schedule.count("done", "failed", "blocked"), len(self.schedule.state) - self.hit

    def _times(self) -> str:
        """How long it has taken, what failed, and what is left."""
        assert self.schedule is not None
        shares = {self.steps[fingerprint][0]: step / max(1, steps) for fingerprint, (step, steps) in self.progress.items()}
        left, failed = self.eta.remaining(self.schedule, shares), self.schedule.count("failed")
        to_go = "" if left is None or left < 1 else f", about {clock(left)} to go"
        return f"{clock(time.monotonic() - self.started)}{f', {failed} failed' if failed else ''}{to_go}"

    def _table(self) -> Any:
        from rich.table import Table

        assert self.schedule is not None
        table = Table(box=None, padding=(0, 2), show_header=False)
        for function, counts in self.schedule.counts.items():
            done, total = sum(counts[state] for state in ("done", "hit", "failed", "blocked")), counts.total()
            if counts["running"] and done < total:
                table.add_row(function, f"{done}/{total}", bar(done / total), "")
        for fingerprint in heapq.nsmallest(TRIALS, self.progress, key=lambda one: self.steps[one][1]):
            step, steps = self.progress[fingerprint]
            table.add_row(f"  {self.steps[fingerprint][1]}", f"step {step}/{steps}", bar(step / max(1, steps)), "")
        done, total = self._counts()
        table.add_row("all", f"{done}/{total}", bar(done / max(1, total)), self._times())
        return table

    def end(self, finished: Finished) -> None:
        """The closing line of a run; failures are told on the error stream, however quiet the run is."""
        done, _ = self._counts()
        if done == 0 and not finished.failures:
            self.say("every stage was there already")
        titles = {finished.fingerprints.key(node): node.title for node in finished.plan.nodes()}  # a key tells which members a node lacks
        told = [f"{titles.get(key, key)} failed: {outcome.error}" for key, outcome in list(finished.failures.items())[:NAMED]]
        for line, times in Counter(told).items():
            print(f"stockpot: {line}{f' ({times} times)' if times > 1 else ''}", file=sys.stderr)
        if finished.failures:
            blocked = sum(state == "blocked" for state in finished.state.values())
            more = len(finished.failures) - NAMED
            told = [f"{more} more failed"] if more > 0 else []
            told += [f"{counted(blocked, 'stage')} that need them were not run"] if blocked else []
            again = "with that corrected the same command goes on" if finished.exit_code == 2 else "the same command goes on"
            print(f"stockpot: {'; '.join([*told, f'what finished is kept, and {again} from there'])}", file=sys.stderr)


def bar(share: float, width: int = 24) -> str:
    full = round(share * width)
    return "━" * full + "[dim]" + "╌" * (width - full) + "[/dim]"
