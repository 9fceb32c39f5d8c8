"""Datasets in several domains, as DomainBed lays them out: `url/domain/class/name.jpg`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from components.data.listed import Listed, Listing, differing, in_folders
from components.types import Run, revision


@revision(1)
@dataclass(frozen=True)
class Domain(Listed):
    """The images of one domain, `url/domain/class/any/depth/name.jpg` (arXiv:2007.01434). Classes are the sorted names of the class folders.

    All of `domains` have the same classes. Ids are the names below `url`, so that those of two domains differ. `bad`: as in `Folder`.
    """

    url: Annotated[str, "address"]
    domain: str
    domains: tuple[str, ...] = ()
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError where a domain is missing or has no class, or where the classes of two domains differ, with the difference."""
        from dataclasses import replace

        from components.data.names import shown
        from components.data.source import Source

        source, where = Source.open(self.url, self.pinned, run), f"Domain {shown(self.url)}/{self.domain}"
        classes: dict[str, set[str]] = {domain: set() for domain in (self.domain, *self.domains)}
        for parts in (file.name.split("/") for file in source.files):
            if parts[0] in classes and len(parts) > 2:
                classes[parts[0]].add(parts[1])
        if gone := [domain for domain, found in classes.items() if len(found) < 2]:
            there = ", ".join(source.folders()[:10]) or "none"
            raise ValueError(f"{where}: domain {gone[0]} has {len(classes[gone[0]])} class folders with images; there are the domains {there}")
        own = sorted(classes[self.domain])
        for other in self.domains:
            if told := differing(sorted(classes[other]), own, "classes"):
                raise ValueError(f"{where}: {other} has other classes: {told}; give each domain the same class folders")
        number = {name: k for k, name in enumerate(own)}
        inside = replace(source, files=tuple(file for file in source.files if file.name.startswith(f"{self.domain}/")))
        found = in_folders(inside, 1)
        return Listing(inside, where, tuple(file for _, file in found), tuple(number[folder] for folder, _ in found), tuple(own)).full()
