"""What runs of a remote store owe to MLflow servers, noted in the store: where a machine is lost, another sends it.

    {store}/owed/{server}/{run}      an empty object, there from the start of a run until that server has everything
"""

from __future__ import annotations

import time
from pathlib import Path

from infra.store.place import Place
from infra.tracking.journal import events
from infra.tracking.segments import Arrivals
from infra.tracking.sent import Sent

ENDED, SILENT = 600.0, 86400.0  # seconds without a change after which nobody else is at it: of a run that said it ended, of another


def note(store: Place, folder: Path, tracking: str) -> None:
    """The run of this local folder is to be sent to this server."""
    store.write(_name(folder, tracking), b"")


def settle(store: Place, folder: Path, tracking: str) -> None:
    """Take the note back where the server has everything."""
    sent = Sent.of(folder, tracking)
    if sent.ended and not sent.unsent:
        store.remove(_name(folder, tracking))


def adopt(store: Place, runs: Path, tracking: str) -> list[Path]:
    """Fetch what another machine owes to this server, and seems not to be sending, into the local folder `runs`: from now on it is sent from here."""
    adopted = []
    for name in store.names(f"owed/{Sent.of(runs, tracking).path.stem}"):
        folder, run = runs / name, Place(store.at(f"runs/{name}"))
        if not Sent.of(folder, tracking).known:
            silent = time.time() - max((one[2] for one in run.find("journal")), default=0.0)
            if silent > ENDED:
                Arrivals(run, folder).fetch(last=True)
                if silent > SILENT or any(event["kind"] == "end" for event in events(folder)):
                    Sent.of(folder, tracking).save()
                    adopted.append(folder)
    return adopted


def _name(folder: Path, tracking: str) -> str:
    sent = Sent.of(folder, tracking)
    return f"owed/{sent.path.stem}/{folder.name}"
