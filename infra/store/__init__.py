"""Artifact folders by URL: attempts beside each other, `record.json` written last and exclusively; it alone means done."""

from infra.store.record import Record
from infra.store.store import Store

__all__ = ["Record", "Store"]
