"""Models of open_clip: by name and tag, from a folder, a file or a URL, or from a configuration of one's own.

The only importer of open_clip. Weights are never unpickled freely: safetensors, or torch files under `weights_only`.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from components.models.folder import CONFIG, SHIPPED, address, configuration, fetched
from components.models.folder import VOCABULARY as VOCABULARY
from components.types import DataError, Run, revision
from components.weights.files import content, join

if TYPE_CHECKING:
    import torch
    from torch import nn

    from components.weights import Checkpoint


class Blueprint(NamedTuple):
    """What is needed to build a model without weights: open_clip's two configurations, and files that travel along (a vocabulary)."""

    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    extras: Mapping[str, bytes]


@runtime_checkable
class Architecture(Protocol):
    """A model before it has weights."""

    def blueprint(self, run: Run) -> Blueprint:
        """The configuration; files that lie elsewhere are fetched into the run's scratch folder."""


@revision(1)
@dataclass(frozen=True)
class OpenClip(Architecture):
    """A model that open_clip knows, or that somebody saved.

    name: `stockpot-tiny` (shipped), an architecture (`ViT-B-32`), `hf-hub:org/name`, or a folder with open_clip_config.json as
    a path, `local-dir:` path or fsspec URL. pretrained: for an architecture, a tag (`openai`) or a weights file (path or URL).
    """

    name: str = SHIPPED
    pretrained: str = ""

    def addresses(self) -> Mapping[str, str]:
        """What is identified by its bytes: a folder, or a weights file."""
        file = self.pretrained if "/" in self.pretrained or os.path.exists(self.pretrained) else ""
        return {"name": address(self.name) or "", "pretrained": file}

    def blueprint(self, run: Run) -> Blueprint:
        if folder := address(self.name):
            config, vocabulary = configuration(folder), content(join(folder, VOCABULARY))
            return Blueprint(config["model_cfg"], config.get("preprocess_cfg", {}), {VOCABULARY: vocabulary} if vocabulary else {})
        known(self.name)
        import open_clip

        return Blueprint(open_clip.get_model_config(self.name.replace("/", "-")), {}, {})


@revision(1)
@dataclass(frozen=True)
class Config(Architecture):
    """A tower of one's own: open_clip's `vision_cfg`, `text_cfg` and `preprocess_cfg` as JSON."""

    embed_dim: int
    vision: str
    text: str
    preprocess: str = "{}"

    def blueprint(self, run: Run) -> Blueprint:
        vision, text, preprocess = (parsed(self, field) for field in ("vision", "text", "preprocess"))
        return Blueprint({"embed_dim": self.embed_dim, "vision_cfg": vision, "text_cfg": text}, preprocess, {})


def parsed(config: Config, field: str) -> dict[str, Any]:
    """One JSON field of a Config as a dict."""
    try:
        value = json.loads(getattr(config, field))
    except json.JSONDecodeError as error:
        raise ValueError(f"Config.{field} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"Config.{field} is {type(value).__name__}: give a JSON object")
    return value


@revision(1)
def pretrained(model: OpenClip, *, run: Run) -> Checkpoint:
    """The weights of a pretrained model. It is its own ancestor, unless its folder names an earlier one.

    ValueError for a name or tag that nobody knows, with the nearest ones; ConnectionError where weights cannot be downloaded.
    """
    from components.weights import Checkpoint

    folder = address(model.name)
    if folder and "stockpot" in configuration(folder):
        return Checkpoint.load(folder)
    module, config = opened(model, folder and fetched(folder, run), run)
    return Checkpoint.of(arrays(module), specification(module, config), model.blueprint(run).extras if folder else {})


@revision(1)
def fresh(model: Architecture, seed: int = 0, *, run: Run) -> Checkpoint:
    """An untrained model: the architecture's own initialisation, a function of the seed."""
    import torch

    from components.weights import Checkpoint

    config, preprocess, extras = model.blueprint(run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = instantiate(config, preprocess)
    return Checkpoint.of(arrays(module), specification(module, config), extras)


def known(name: str) -> None:
    """Refuse a name that is neither an architecture nor a folder."""
    import open_clip

    names = open_clip.list_models()
    if name.replace("/", "-") not in names:
        near = difflib.get_close_matches(name, [SHIPPED, *names], n=4, cutoff=0.4)
        meant = f"did you mean {', '.join(near)}?" if near else f"give {SHIPPED}, an architecture of open_clip.list_models(), or a folder"
        raise ValueError(f"{name} is no open_clip architecture and no folder with {CONFIG}: {meant}")


def opened(model: OpenClip, folder: str, run: Run) -> tuple[nn.Module, Mapping[str, Any]]:
    """open_clip's own module with its weights, and the configuration that builds it again."""
    import open_clip
    from torch._weights_only_unpickler import UnpicklingError  # type: ignore[attr-defined]

    if folder or model.name.startswith("hf-hub:"):
        name, tag, config = f"local-dir:{folder}" if folder else model.name, None, None
    else:
        name, tag, config = model.name, *tagged(model, run)
    try:
        module = open_clip.create_model(name, tag, force_quick_gelu=bool(config and config.get("quick_gelu")), require_pretrained=True)
    except UnpicklingError as error:
        raise DataError(f"{tag or name} holds more than tensors and was not unpickled: save it as safetensors if you trust it") from error
    except (RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise ConnectionError(f"weights {tag or name} could not be opened ({first}): check the network, or give a local file") from error
    return module, config or open_clip.get_model_config(name)


def tagged(model: OpenClip, run: Run) -> tuple[str, Mapping[str, Any]]:
    """What to load into an architecture (a tag, or a local file), and its configuration with the activation that the tag has."""
    import open_clip

    known(model.name)
    name, source = model.name.replace("/", "-"), model.pretrained
    config, tags = dict(open_clip.get_model_config(name)), open_clip.list_pretrained_tags_by_model(name)
    if "://" in source or os.path.isfile(source):
        return plain(fetched(source, run), run), config
    cfg = open_clip.get_pretrained_cfg(name, source) if source else {}
    if not cfg:
        listed = ", ".join(difflib.get_close_matches(source, tags, n=6, cutoff=0.0) or ["none"])
        raise ValueError(f"{name} has no weights {source!r}: give a file, or one of its tags ({listed})")
    # the weights decide: ViT-B-32 with the tag openai is QuickGELU, though its name is not
    return source, {**config, "quick_gelu": True} if cfg.get("quick_gelu", False) else config


def plain(path: str, run: Run) -> str:
    """A weights file as safetensors: what torch wrote is read by a process of its own."""
    from components.models.torch_file import tensors_of
    from components.weights.foreign import format_of

    if path.endswith((".npz", ".npy")) or format_of(path) == "safetensors":
        return path
    target = os.path.join(run.dir, f"{os.path.basename(path)}.safetensors")
    os.makedirs(run.dir, exist_ok=True)
    tensors_of(path, target)
    return target


def instantiate(config: Mapping[str, Any], preprocess: Mapping[str, Any]) -> nn.Module:
    """open_clip's module for a configuration, initialised from torch's global generator; it downloads nothing."""
    import copy

    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP, set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    config = dict(copy.deepcopy(config))
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    custom = bool(config.pop("custom_text", False))
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"]["hf_model_pretrained"] = False
        custom = True
    module: nn.Module = (CoCa if "multimodal_cfg" in config else CustomTextCLIP if custom else CLIP)(**config)
    size = {"size": module.visual.image_size} if hasattr(module.visual, "image_size") else {}
    set_model_preprocess_cfg(module, {**merge_preprocess_dict(PreprocessCfg(), dict(preprocess)), **size})
    return module


def specification(module: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON by which a checkpoint builds this module again; sizes are [height, width] or one number."""
    visual: Any = module.visual
    spec = {"kind": "open_clip", "model_cfg": dict(config), "preprocess_cfg": visual.preprocess_cfg, "classes": None, "prompts": None}
    normal: dict[str, Any] = json.loads(json.dumps(spec))
    return normal


def arrays(module: nn.Module) -> dict[str, Any]:
    """A module's persistent tensors as arrays of their own."""
    return {key: value.detach().cpu().contiguous().numpy().copy() for key, value in module.state_dict().items()}


def tokeniser(config: Mapping[str, Any], extras: Mapping[str, bytes]) -> Callable[[list[str]], torch.Tensor]:
    """Texts to int64 [N, context]: open_clip's tokeniser for this configuration, or the vocabulary that travels with the weights."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    from components.models import tokenizer

    text = config["text_cfg"]
    context = text.get("context_length", 77)
    if VOCABULARY in extras:
        return tokenizer.tokenizer(extras[VOCABULARY], context)
    options = text.get("tokenizer_kwargs", {})
    if name := text.get("hf_tokenizer_name"):
        return HFTokenizer(name, context_length=context, tokenizer_mode=text.get("tokenizer_mode"), **options)  # type: ignore[no-any-return]
    found = SimpleTokenizer(context_length=context, **options)
    if found.vocab_size > text.get("vocab_size", found.vocab_size):
        told = f"open_clip's tokeniser has {found.vocab_size} words, this text tower {text['vocab_size']}"
        raise ValueError(f"{told}: {VOCABULARY}, the vocabulary that it was trained with, is missing beside its weights; fetch it as well")
    return found  # type: ignore[no-any-return]


def outline(config: Mapping[str, Any], preprocess: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """({key: shape} of the tensors, specification) of a configuration; no weight is allocated. ValueError for one that builds nothing."""
    import torch

    try:
        with torch.device("meta"):
            module = instantiate(config, preprocess)
    except (TypeError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"open_clip builds no model of this configuration ({first}): give one with embed_dim, vision_cfg and text_cfg") from error
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}, specification(module, config)


@functools.cache
def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(OpenAI's names of ImageNet's 1000 classes, their 80 prompts) from open_clip's published lists (arXiv:2103.00020), in the order of the head.

    Two pairs of classes share a name, so that positions count. The file is run alone: open_clip itself is not imported, which takes seconds.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("open_clip is not installed, and ImageNet's class names are in its package; pip install open_clip_torch")
    path = os.path.join(spec.submodule_search_locations[0], "zero_shot_metadata.py")
    try:
        lists = runpy.run_path(path)
        names, prompts = tuple(lists["IMAGENET_CLASSNAMES"]), tuple(fill("{}") for fill in lists["OPENAI_IMAGENET_TEMPLATES"])
    except (OSError, KeyError) as error:
        raise DataError(f"{path} has no lists of ImageNet's classes and prompts ({error}); install open_clip_torch 2.20 or newer") from error
    return names, prompts
