"""Names that come from listings, manifests, archives and tables: never trusted to stay below the folder they are relative to."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from components.types import DataError

LONGEST = 1024  # bytes of a whole name; 255 of each part, as file systems have it
PLAIN = re.compile(r"(?=.{1,255}\Z)\w[\w-]*(\.\w[\w-]*)*(/\w[\w-]*(\.\w[\w-]*)*)*", re.ASCII)  # nothing in it means anything to anybody
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


def is_image(name: str) -> bool:
    """Whether the suffix is that of an image."""
    return name.lower().endswith(IMAGES)


def hidden(name: str) -> bool:
    """Whether any part of a relative name is one that people do not mean as data."""
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db") for part in name.split("/") if part not in (".", ".."))


def safe(name: str, where: str) -> str:
    """The canonical form of a relative name ("./a//b" is "a/b"); DataError where it may leave its folder once anything decodes it."""
    if PLAIN.fullmatch(name):
        return name
    if reason := _danger(name):
        raise DataError(f"{where}: the name {shown(name)!a} is refused: it {reason}; rename it")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def shown(url: str) -> str:
    """An address or a name as it may be printed: without user, password and query, not too long."""
    plain = re.sub(r"(://[^?\s]*)\?\S+", r"\1?***", re.sub(r"(?<=://)[^/\s]*@", "", url))
    return plain if len(plain) <= 200 else plain[:100] + "..." + plain[-97:]


def _danger(name: str) -> str:
    plain = name
    for _ in range(8):  # %252e is %2e once, "." twice
        plain = unquote(plain)
    parts = plain.replace("\\", "/").split("/")
    if not any(part not in ("", ".") for part in parts):
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in plain):
        return "has control characters or is not UTF-8"
    if "://" in plain or "::" in plain or plain.lower().startswith("file:"):
        return "is an address"
    if parts[0] == "" or re.match(r"[A-Za-z]:", plain):
        return "is absolute"
    if ".." in parts:
        return "climbs out with '..'"
    if "?" in plain or "#" in plain:
        return "has ? or #, which mean something else in a URL"
    if len(plain.encode()) > LONGEST or max(len(part.encode()) for part in parts) > 255:
        return f"is longer than {LONGEST} bytes, or a part of it than 255"
    return ""
