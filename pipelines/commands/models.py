"""A model as one names it: a checkpoint folder or URL, the key of a node in a store, or a study (its winner)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.types import Local
from components.weights import Checkpoint
from components.weights.files import join, size
from components.weights.folder import CONFIGS
from infra import owned, settings
from pipelines.commands.fields import near
from pipelines.commands.studies import Where, presets, studies

if TYPE_CHECKING:
    from infra.store import Store

def located(word: str, where: Where) -> str:
    """The URL of a model's folder. ValueError that says what was looked for."""
    word = word.removeprefix("local-dir:")
    names = dict.fromkeys(CONFIGS.values())
    if any(size(join(word, name)) is not None for name in names):
        return word
    if "://" in word or "/" in word:
        raise ValueError(f"no model at {word}: it has neither {' nor '.join(names)}; give a folder that open_clip or stockpot saved")
    study, _, preset = word.partition(":")
    if study in studies():
        from pipelines.commands.session import open_store

        return winner(study, preset or "tiny", open_store(where, create=False))
    if word == "stockpot-tiny":
        from components.models.folder import address

        return address(word)
    try:
        return payload(word, where, "model", "components.weights")
    except LookupError as error:
        raise ValueError(f"{word!r} is no model: no folder, no study{near(word, list(studies()))}, and {error.args[0]}") from None


def payload(word: str, where: Where, what: str, kind: str) -> str:
    """The folder that a key of the store keeps. LookupError: no such key; ValueError: its type is not of `kind`, so that it is no `what`."""
    from pipelines.commands.session import open_store
    from pipelines.commands.show import found

    store = open_store(where, create=False)
    try:
        record = store.finished(found(store, word))
    except ValueError as error:
        raise LookupError(str(error)) from None
    if not str(record.result.get("type", "")).startswith(kind):
        raise ValueError(f"{record.key} is no {what} but what {record.function.partition(':')[2]} gave; stockpot ls lists the others")
    return store.payload(record)


def winner(name: str, preset: str, store: Store) -> str:
    """The folder of the model that a study handed over. ValueError where it has not been run in this store."""
    from components.weights.digests import digests_of
    from infra.dag import Fingerprints
    from infra.store.pins import Pins

    known = presets(name)
    if preset not in known:
        raise ValueError(f"{preset!r} is not a preset of {name}; there are {', '.join(known)}")
    plan = known[preset].plan()
    fingerprints = Fingerprints(Pins(store.place, digests_of).of(plan))
    node = plan.about.node(plan.about.winner)
    record = store.record(fingerprints.key(node))
    if record is None:
        remedy = f"of a run with flags give the path that it printed; or: stockpot run {name} {preset}"
        raise ValueError(f"{store.url} has no winner of {name} {preset}; {remedy}")
    return store.payload(record)


def checkpoint(word: str, where: Where, check: bool = True) -> Checkpoint:
    """The model that a word names, unread. check: its bytes are compared with their record when they are first used."""
    return Checkpoint(located(word, where), check)


@contextlib.contextmanager
def scratch() -> Iterator[Local]:
    """A `run` for one command: scratch that is removed, and the node's cache of decoded data."""
    with owned.scratch() as folder:
        yield Local(folder, settings.cache_folder())


def answers(model: Checkpoint, data: Any) -> tuple[Any, Any]:
    """(predictions, opened examples) of a model on a dataset, computed here and now. ValueError for a model without a head."""
    if "head" not in model.parts:
        raise ValueError(f"{model.url} has no classifier; predict and eval make one with --classes a,b,c --prompts 'a photo of a {{}}.'")
    from components.evaluate import opened, outputs

    with scratch() as run:
        examples = opened(data, run)
        return outputs(model, data, run=run), examples


def with_head(model: Checkpoint, classes: tuple[str, ...], prompts: tuple[str, ...], data: Any = None) -> Checkpoint:
    """The model, with a zero-shot head where classes are named, or where it has none and `data` knows its classes."""
    if not classes and ("head" in model.parts or data is None):
        return model
    from components.models.heads import zero_shot

    with scratch() as run:
        return zero_shot(model, classes, prompts, None if classes else data, run=run)
