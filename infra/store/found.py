"""Queries over the records of a store, resolved when a plan's sources are pinned: before fingerprints, which hold the digest of what was drawn.

A query (`components.models.stored.Stored`) is asked for by what it has: `functions`, `only`, `exclude`, `avoid`, `ancestor()` and `origin()`.
Members come in the order of their digests, so that neither time nor a listing's order matters. Of models with equal towers one is a member, that
which has seen least: the others got another head, or came by another name. Never members are the plan's own nodes, what descends from a member of
any query (`hygiene.RECYCLED` in a record's data), and what has the model's own towers: a plan finds nothing that it made, and its second run finds
what its first one found.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from infra.dag import Fingerprints, Plan, call
from infra.errors import IntegrityError
from infra.hygiene import RECYCLED, parts
from infra.identity import Canon, Member, Resolved, drawn
from infra.store.inventory import keys, records
from infra.store.record import Record
from infra.store.store import Store

SHOWN = 3  # members named in a line
CONTENT = re.compile(r'"content": "([0-9a-f]{20})"')
OWN, AGAIN, ITSELF = "of this plan itself", "made of recycled models", "with the model's own towers"
OTHER, NAMED, SEEN = "descended from other models", "excluded by name", "that have seen the data to avoid"
SPOILED = "trained to fail at their task"


class Query(Protocol):
    """Which records are wanted; see `components.models.stored`."""

    functions: tuple[str, ...]
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    avoid: tuple[Any, ...]
    spoiling: ClassVar[tuple[str, ...]]

    def ancestor(self) -> tuple[Callable[..., Any], Mapping[str, Any]]: ...
    def origin(self) -> tuple[str, str]: ...


def resolve(store: Store, plan: Plan, pins: Resolved) -> None:
    """Take into the pins what the queries of a plan find, and a line about each.

    Raises ValueError for an index below 0, for a query that finds nothing, or that names what descends from another model; IntegrityError where one
    names what has seen the data to avoid.
    """
    queries: dict[str, Query] = {}
    starts: dict[str, set[int]] = {}
    canon = Canon(pins)
    for node in plan.nodes():
        if name := drawn(node.fn):
            if (index := node.arguments.get("index", 0)) < 0:
                raise ValueError(f"{node.title}: index {index} of what a query finds; count from 0, modulo the number of what it finds")
            queries.setdefault(asked := canon.query(node.arguments[name]), node.arguments[name])
            starts.setdefault(asked, set()).add(index)
    if not queries:
        return
    prints = Fingerprints(pins)
    own = {prints.key(node) for node in plan.nodes()}
    wanted = {function for query in queries.values() for function in query.functions}
    there = [key for key in keys(store) if key.rsplit("-", 1)[0] in wanted]
    searches = {name: Search(store, query, canon, own) for name, query in queries.items()}
    for _, _, record in records(store, there):
        if isinstance(record, Record):  # what cannot be read is verify's to tell
            for search in searches.values():
                search.take(record)
    for name, search in searches.items():
        pins.found[name] = search.members()
        pins.told.append(search.told(pins.found[name], len(starts[name])))


@dataclass
class Equals:
    """Records of equal towers: how many they are, and of all of them and of those that the query's names let in the one that has seen least."""

    count: int = 0
    least: Member | None = None
    named: Member | None = None

    def add(self, member: Member, named: bool) -> None:
        """Ties go to the earlier one."""
        self.count += 1
        self.least = lesser(self.least, member)
        if named:
            self.named = lesser(self.named, member)


class Search:
    """One query against the records of a store, which are taken one by one; of equal towers two members are kept, and no record."""

    def __init__(self, store: Store, query: Query, canon: Canon, own: Collection[str]) -> None:
        self.store, self.query, self.own = store, query, own
        self.left: Counter[str] = Counter()  # how many records were left out, by why
        self.towers: dict[str, Equals] = {}  # by the digest of the model's own tensors
        self.count = 0  # of the models that its functions made
        self.there: set[str] = set()  # of `only`, what some key begins with
        self.stranger = ""  # the first that is named and descends from another model
        self.avoid = [part for data in query.avoid for part in parts(data, canon)]
        fn, arguments = query.ancestor()
        self.base = store.record(Fingerprints(canon.pins).key(call(fn, **arguments)))
        self.ancestry, self.weights = query.origin()
        if self.base is not None and "attempt" in self.base.result:
            self.ancestry, self.weights = self.base.summary.get("ancestry") or self.ancestry, weights(self.base) or self.weights

    def take(self, record: Record) -> None:
        """Consider a record, in the order of keys."""
        if record.function.rpartition(":")[2] not in self.query.functions or "attempt" not in record.result:
            return
        self.count += 1
        self.there.update(start for start in self.query.only if record.key.startswith(start))
        named = self._named(record)
        if why := self.unfit(record):
            self.left[why] += 1
            if why == OTHER and self.query.only and named:
                self.stranger = self.stranger or record.key
        else:
            equals = self.towers.setdefault(weights(record) or record.digest, Equals())
            equals.add(Member(record.key, record.digest, record.data), named)

    def members(self) -> list[Member]:
        """What the query finds among the records that were taken."""
        for start in self.query.only:
            if start not in self.there:
                raise ValueError(f"{self.store.url} has no model of {self._made} whose key begins with {start}; stockpot ls lists what is there")
        if self.stranger:
            told = f"{self.stranger} does not descend from {self.query}, and models of unlike ancestry cannot be averaged"
            raise ValueError(f"{told}; leave it out")
        kept = [member for equals in self.towers.values() if (member := self._one(equals)) is not None]
        if not kept:
            raise ValueError(self._nothing(self.count))
        return sorted(kept, key=lambda member: member.digest)

    def unfit(self, record: Record) -> str:
        """Why a record is no member, whatever its name and data, or ""."""
        if record.key in self.own:
            return OWN
        if any(mark == RECYCLED for mark, *_ in record.data):
            return AGAIN
        if not self.ancestry or record.summary.get("ancestry") != self.ancestry:
            return OTHER
        objective = record.arguments.get("objective")
        if isinstance(objective, Mapping) and str(objective.get("is")).partition("@")[0] in self.query.spoiling:
            return SPOILED
        return ITSELF if weights(record) == self.weights else ""

    def _one(self, equals: Equals) -> Member | None:
        """The member among records of equal towers, which has seen least; what is known of one's data holds where nothing is known of another's."""
        least, one = equals.least, equals.named or equals.least
        assert least is not None and one is not None
        if (seen := self._seen(least)) or (seen := self._seen(one)):
            self.left[SEEN] += equals.count
            if equals.named and self.query.only:
                raise IntegrityError(f"{one.key} has seen the data to avoid, {brief(seen)}: it is no auxiliary model; leave it out")
            return None
        if not equals.named:
            self.left[NAMED] += equals.count
            return None
        return Member(one.key, one.digest, one.data or least.data)

    def _named(self, record: Record) -> bool:
        """Whether the query's names let a record in."""
        wanted = not self.query.only or record.key.startswith(self.query.only)
        return wanted and not (self.query.exclude and record.key.startswith(self.query.exclude))

    def _seen(self, member: Member) -> str:
        """Of the data to avoid, the first source of which any part trained or selected a member, or ""."""
        roots = {root for mark, root, *_ in member.data if mark in ("trains", "selects")}
        contents = {content for root in roots for content in CONTENT.findall(root)}
        return next((root for root, *_ in self.avoid if root in roots or contents.intersection(CONTENT.findall(root))), "")

    @property
    def _made(self) -> str:
        return " or ".join(self.query.functions)

    def _nothing(self, count: int) -> str:
        if not self.ancestry:
            why = "its ancestry is not known there; run a study that begins with it in this store first"
        else:
            there = f"of {count} models of {self._made}, {self._left()}" if count else f"there is no model of {self._made}"
            why = f"{there}; train some, or take some in: stockpot import SOURCE --ancestor MODEL --store {self.store.url}"
        return f"{self.store.url} has nothing to recycle that descends from {self.query}: {why}"

    def _left(self) -> str:
        return ", ".join(f"{number} {why}" for why, number in self.left.most_common() if number)

    def told(self, members: list[Member], starts: int) -> str:
        """What was found, in a line; where more starts are asked for than that, it says that they repeat."""
        named = ", ".join(member.key for member in members[:SHOWN]) + (f" and {len(members) - SHOWN} more" if len(members) > SHOWN else "")
        turns = "they take turns" if len(members) > 1 else "each begins with it"
        few = f"; {len(members)} found for {starts} starts: {turns}" if len(members) < starts else ""
        left = f"; left out: {left}" if (left := self._left()) else ""
        return f"recycling {len(members)} of the store's models that descend from {self.query}: {named}{few}{left}"


def lesser(known: Member | None, other: Member) -> Member:
    """Of two members that which has seen least, as far as anything is known of it; the first one of equals."""
    return other if known is None else min(known, other, key=lambda member: (not member.data, len(member.data), member.digest))


def weights(record: Record) -> str:
    """The digest of the model's own tensors among the files of a record, or ""."""
    names = ("open_clip_model.safetensors", "model.safetensors")
    return next((str(file["digest"]) for file in record.result["files"] if file["name"] in names), "")


def brief(root: str) -> str:
    """A root of data in a word or two: its class and content."""
    known = json.loads(root)
    return str(known.get("is", root)).partition("@")[0] if isinstance(known, dict) else root
