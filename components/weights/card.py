"""The model card that every checkpoint folder carries: lineage a hub understands, the recipe, and the lines that load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def card(spec: Mapping[str, Any], kind: str, names: Sequence[str]) -> str:
    """Markdown with YAML front matter. It depends on the specification only, never on where the folder lies."""
    leaves = (spec.get("lineage") or {}).get("leaves", [])
    bases = [spec["base_model"]] if spec.get("base_model") else [f"sha256:{spec['ancestry']}"] if spec.get("ancestry") else []
    lines = ["---", f"library_name: {kind}", "tags:", "- stockpot", *(["- merge"] if len(leaves) > 1 else [])]
    if bases:
        lines += ["base_model:", *(f"- {json.dumps(base)}" for base in bases)]
    lines += ["---", "", f"# {spec.get('name') or 'A checkpoint'}", ""]
    if len(leaves) > 1:
        lines += [
            f"A linear combination of {len(leaves)} checkpoints that share one ancestor; it has the size and the speed of one of them.",
            "",
            "| member | weight |",
            "|---|---|",
            *(f"| {_member(leaf)} | {_weight(leaf['weight'])} |" for leaf in leaves),
            "",
        ]
    facts = spec.get("facts") or {}
    if facts:
        lines += ["## Recipe", "", "```json", json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False), "```", ""]
    lines += ["## Loading", "", "```python", *_loading(kind), "```", ""]
    if "head.safetensors" in names and spec.get("classes"):
        classes = spec["classes"]
        shown = ", ".join(map(str, classes[:10])) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
        lines += [f"`head.safetensors` holds `head.weight` [{len(classes)}, D] and `head.bias` for the classes {shown}.", ""]
    return "\n".join(lines)


def _member(leaf: Mapping[str, Any]) -> str:
    name = f"{leaf['name']} " if leaf.get("name") else ""
    return f"{name}`{leaf['digest'][:12]}`"


def _weight(weight: Any) -> str:
    return weight if isinstance(weight, str) else f"by key: `{json.dumps(weight)}`"


def _loading(kind: str) -> list[str]:
    if kind == "open_clip":
        return ["import open_clip", 'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")']
    if kind == "transformers":
        return ["import transformers", 'model = transformers.AutoModel.from_pretrained("FOLDER")']
    return ["import timm", 'model = timm.create_model("local-dir:FOLDER", pretrained=True)']
