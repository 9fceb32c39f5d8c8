"""What coming steps will read, brought into the node's cache in the order in which they will."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType

from components.data import examples
from components.data.streamed import READERS, Indices, Streamed
from components.types import Examples

STEPS = 1 << 13  # looked ahead at most


class Lookahead:
    """A thread that goes ahead of the training, no further than the pieces in between fit into the cache beside those in use."""

    def __init__(self, data: Examples, draw: Callable[[int], Indices], start: int, steps: int) -> None:
        self.pixels, self.draw = examples.rows(data).pixels, draw
        self.steps, self.step, self.ended = range(start, steps), start, False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="lookahead", daemon=True)

    def __enter__(self) -> Lookahead:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended = True
        self.reached(self.step)
        self.thread.join()

    def reached(self, step: int) -> None:
        """The training is at this step: what only earlier ones needed may go."""
        with self.changed:
            self.step = step
            self.changed.notify()

    def _run(self) -> None:
        passed: deque[dict[tuple[Streamed, int], int]] = deque()
        uses: Counter[tuple[Streamed, int]] = Counter()
        begun: deque[Future[bool]] = deque()
        first, total = self.steps.start, 0
        for step in self.steps:
            wanted = self._wanted(step)
            room = sum(one.budget for one in {one for one, _ in wanted}) * 3 // 2
            with self.changed:
                while True:
                    while passed and first < self.step:
                        first += 1
                        for piece, size in passed.popleft().items():
                            uses[piece] -= 1
                            total -= 0 if uses[piece] else size
                    if self.ended or not passed or (step - self.step <= STEPS and total <= room):
                        break
                    self.changed.wait()
            if self.ended:
                return
            total += sum(size for piece, size in wanted.items() if not uses[piece])
            uses.update(wanted.keys())
            passed.append(wanted)
            for one, number in wanted:
                begun += one.bring([number])
            while len(begun) > 2 * READERS:
                begun.popleft().exception()  # whoever needs the bytes meets it again

    def _wanted(self, step: int) -> dict[tuple[Streamed, int], int]:
        """{piece: bytes} of one step."""
        found = examples.beneath(self.pixels, self.draw(step))
        return {(one, piece): size for one, indices in found if isinstance(one, Streamed) for piece, size in one.wanted(indices).items()}


def lookahead(data: Examples, draw: Callable[[int], Indices], start: int, steps: int) -> Lookahead | None:
    """One for examples that are read from afar, else None."""
    if start == steps:
        return None
    found = examples.beneath(examples.rows(data).pixels, draw(start))
    return Lookahead(data, draw, start, steps) if any(isinstance(one, Streamed) for one, _ in found) else None
