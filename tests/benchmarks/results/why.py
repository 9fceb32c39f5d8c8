"""The likely reasons why a claim did not reproduce, written after the results, by the claim's text."""

from __future__ import annotations

WHY: dict[str, str] = {}
