"""Progress: on a terminal one live table with an ETA and a line for each finished stage; in a log, plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra import settings
from infra.finished import Finished
from infra.node import Node
from infra.schedule import Schedule
from infra.tracking.journal import read
from pipelines.commands.eta import Eta, Expected
from pipelines.commands.text import clock, counted

NAMED = 5  # failures that the end of a run names
TRIALS = 8  # running trials with a line of their own


class View:
    """Watches a run and tells a person; `watch` is what the runner calls."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live: Any = None
        self.console: Any = None
        self.schedule: Schedule | None = None
        self.started = self.drawn = time.monotonic()
        self.eta = Eta()
        self.waited: set[str] = set()  # for whom
        self.progress: dict[str, tuple[int, int]] = {}  # fingerprint -> step, steps
        self.since: dict[str, int] = {}
        self.steps: dict[str, tuple[str, int]] = {}  # fingerprint -> title, steps
        self.unsaved: set[str] = set()  # fingerprints whose states the store did not take
        self.hit = 0

    def begin(self, folder: str, on_start: Callable[[], None], expected: Expected) -> None:
        """Before the run: its folder, what to do once something must be computed, and what earlier runs say of a stage's seconds."""
        self.folder, self.on_start, self.eta = folder, on_start, Eta(expected)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *problem: object) -> None:
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
        self.eta.workers = max(1.0, float(value["cpus"]))
        gpus = f", {value['gpus']:g} GPUs" if value.get("gpus") else "; no accelerator, so GPU stages run on CPUs"
        self.say(f"workers are ready after {clock(time.monotonic() - self.started)}: {value['cpus']:g} CPUs{gpus}", "dim")

    def _queued(self, node: Node) -> None:
        assert self.schedule is not None
        steps = node.arguments.get("steps")
        if isinstance(steps, int):
            self.steps[self.schedule.key(node).rsplit("-", 1)[-1]] = (node.title, steps)

    def _done(self, node: Node, seconds: float, **facts: Any) -> None:
        assert self.schedule is not None
        self.eta.finished(node, seconds)
        self.progress.pop(self.schedule.key(node).rsplit("-", 1)[-1], None)
        left = [key for key, state in self.schedule.state.items() if state in ("pending", "running") and self.schedule.nodes[key].fn is node.fn]
        if not left:
            times = self.eta.spent[node.function]
            count = f"{len(times)} x " if len(times) > 1 else ""
            self.say(f"  ✓ {node.function:<16} {count}{sum(times) / len(times):.1f} s", "green")

    def _failed(self, node: Node, error: str, **facts: Any) -> None:
        self.say(f"  ✗ {node.title}: {error}", "red")

    def _retry(self, node: Node, reason: str) -> None:
        self.say(f"  ↻ {node.title}: {reason}; trying again", "yellow")

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
        self.say(f"  ↻ {node.title}: {reason}; it is computed again", "yellow")

    def _tick(self, node: Node | None) -> None:
        if time.monotonic() - self.drawn < (0.5 if self.live else 15.0) or self.schedule is None:
            return
        self.drawn = time.monotonic()
        self._follow()
        if self.live is not None:
            self.live.update(self._table())
        elif not self.quiet:
            done, total = self._counts()
            self.say(f"  {done} of {total} stages after {clock(time.monotonic() - self.started)}{self._eta()}")

    def _follow(self) -> None:
        assert self.schedule is not None
        running = {key.rsplit("-", 1)[-1] for key, state in self.schedule.state.items() if state == "running"}
        for line in read(self.folder, self.since):
            self.since[line.writer] = line.end
            fingerprint = line.event.get("fingerprint")
            if line.event.get("kind") == "metric" and fingerprint in self.steps and fingerprint in running:
                self.progress[fingerprint] = (int(line.event["step"]), self.steps[fingerprint][1])
            elif line.event.get("kind") == "unsaved" and fingerprint in self.steps and fingerprint not in self.unsaved:
                self.unsaved.add(fingerprint)
                name = self.steps[fingerprint][0]
                where = f"its state is on the disk of {line.event['host']} only, and the next is tried again"
                self.say(f"  ! {name}: {line.event['reason']}; {where}", "yellow")

    def _counts(self) -> tuple[int, int]:
        assert self.schedule is not None
        return self.schedule.count("done", "failed", "blocked"), len(self.schedule.state) - self.hit

    def _eta(self) -> str:
        assert self.schedule is not None
        shares = {key: self.progress.get(key.rsplit("-", 1)[-1]) for key, state in self.schedule.state.items() if state == "running"}
        done = {key: share[0] / max(1, share[1]) for key, share in shares.items() if share}
        left = self.eta.remaining(self.schedule, done)
        return "" if left is None or left < 1 else f", about {clock(left)} to go"

    def _table(self) -> Any:
        from rich.table import Table

        assert self.schedule is not None
        table = Table(box=None, padding=(0, 2), show_header=False)
        rows: dict[str, list[int]] = {}
        for key, state in self.schedule.state.items():
            row = rows.setdefault(self.schedule.nodes[key].function, [0, 0, 0])
            row[0] += state in ("done", "hit", "failed", "blocked")
            row[1] += state == "running"
            row[2] += 1
        for function, (done, running, total) in rows.items():
            if running and done < total:
                table.add_row(function, f"{done}/{total}", bar(done / total), "")
        shown = sorted(self.progress.items(), key=lambda item: self.steps[item[0]][0])
        for fingerprint, (step, steps) in shown[:TRIALS]:
            table.add_row(f"  {self.steps[fingerprint][0]}", f"step {step}/{steps}", bar(step / max(1, steps)), "")
        done, total = self._counts()
        table.add_row("all", f"{done}/{total}", bar(done / max(1, total)), f"{clock(time.monotonic() - self.started)}{self._eta()}")
        return table

    def end(self, finished: Finished) -> None:
        """The closing line of a run; failures are told on the error stream, however quiet the run is."""
        done, _ = self._counts()
        if done == 0 and not finished.failures:
            self.say("every stage was there already")
        titles = {finished.fingerprints.key(node): node.title for node in finished.plan.nodes()}  # a key tells which members a node lacks
        for key, outcome in list(finished.failures.items())[:NAMED]:
            title = titles.get(key, key)
            print(f"stockpot: {title} failed: {outcome.error}", file=sys.stderr)
        if finished.failures:
            blocked = sum(state == "blocked" for state in finished.state.values())
            more = len(finished.failures) - NAMED
            told = [f"{more} more failed"] if more > 0 else []
            told += [f"{counted(blocked, 'stage')} that need them were not run"] if blocked else []
            print(f"stockpot: {'; '.join([*told, 'what finished is kept, and the same command goes on from there'])}", file=sys.stderr)


def bar(share: float, width: int = 24) -> str:
    full = round(share * width)
    return "━" * full + "[dim]" + "╌" * (width - full) + "[/dim]"
