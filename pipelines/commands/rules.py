"""Merge rules as a command sees them: the models that a rule takes and the options that it has are what its signature says.

A rule is a component that `components.merge` exports and that gives a combination, or a payload that other rules want. Its parameters, by type:

    Checkpoint                 a model, in the order of the words
    list[Checkpoint]           the models that remain
    list[a payload]            one for each of these models: read from where --NAME says, or made on --data by the component that gives it
    Policy, run                the common options; scratch
    anything else              an option of the rule
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import components.merge
from components.predictions import Predictions
from components.types import Dataset
from components.weights import Checkpoint, Policy, Vector
from infra.identity import Unknown, hints_of
from pipelines.commands.fields import bare, lay, near, objects, written
from pipelines.commands.help import WIDTH, short, shown
from pipelines.commands.models import answers, payload
from pipelines.commands.studies import Where, divided, parse

PICKS = ("best",)  # chooses a model and merges none
NEEDED = inspect.Parameter.empty  # the default of what has none


def is_model(hint: Any) -> bool:
    """Whether a parameter of this hint takes one model."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return all(isinstance(option, type) and issubclass(option, Vector | Unknown) for option in options) and hint is not Unknown


def item(hint: Any) -> Any:
    """The type of the elements of a list, or None."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (list, Sequence) else None


def options_of(thing: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """{parameter: (type, default)} of a function or a dataclass."""
    hints = hints_of(thing)
    return {name: (bare(hints[name]), parameter.default) for name, parameter in inspect.signature(thing).parameters.items()}


def described(function: Callable[..., Any], names: Collection[str]) -> tuple[str, dict[str, str]]:
    """(what the docstring says, what it says of each option): a paragraph of which every line begins with `name: ` is about options."""
    paragraphs = [part.splitlines() for part in (inspect.getdoc(function) or "").split("\n\n")]
    pairs = [[line.split(": ", 1) for line in part] for part in paragraphs]
    about = [all(len(pair) == 2 and pair[0] in names for pair in part) for part in pairs]
    whole = "\n\n".join("\n".join(part) for part, is_about in zip(paragraphs, about, strict=True) if not is_about)
    return whole, {pair[0]: pair[1] for part, is_about in zip(pairs, about, strict=True) if is_about for pair in part}


class Rule:
    """One rule. first, rest: the parameters that take models; kept: its payloads, {name: type}; own: its options; other: what else it takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.name = function, function.__name__
        self.first: list[str] = []
        self.rest = ""
        self.kept: dict[str, Any] = {}
        self.own: dict[str, tuple[Any, Any]] = {}
        self.other: set[str] = set()
        for name, (hint, default) in options_of(function).items():
            if hint is Policy or name == "run":
                self.other.add(name)
            elif is_model(hint):
                self.first.append(name)
            elif is_model(item(hint)) and not self.rest:
                self.rest = name
            elif callable(getattr(item(hint), "load", None)):
                self.kept[name] = item(hint)
            else:
                self.own[name] = (hint, default)

    @property
    def computes(self) -> bool:
        """Whether it looks at data or tensors before it knows the weights."""
        return "run" in self.other or bool(self.kept)

    @property
    def gives_model(self) -> bool:
        """Whether a model comes of it, and not what another rule wants to know of one."""
        return is_model(hints_of(self.function).get("return"))

    @property
    def usage(self) -> str:
        words = [*map(str.upper, self.first), *(["A B C ..."] if self.rest else [])]
        words += [f"--{name} {short(hint)}" for name, (hint, default) in self.own.items() if default is NEEDED]
        return f"usage: stockpot merge {self.name} {' '.join(words)} --out URL [--plan]"

    @cached_property
    def options(self) -> dict[str, tuple[Any, Any]]:
        """Its own options, and those by which its payloads are read or made."""
        found = dict(self.own)
        for name in self.kept:
            found[name] = (tuple[str, ...], None)
            found.setdefault("data", (Dataset, None))
            found = {**settings_of(self.maker(name)), **found}
        return found

    def form(self, common: type) -> type:
        """The dataclass of its options and the common ones."""
        if any(hint is Dataset for hint, _ in self.options.values()):
            import components.data.microworld  # noqa: F401 (so that --data knows all that there is)

        _, texts = described(self.function, self.options)
        fields = [field(name, *option, texts.get(name) or SAVED * (name in self.kept)) for name, option in self.options.items()]
        fields += [(f.name, hints_of(common)[f.name], dataclasses.field(default=f.default, metadata=f.metadata)) for f in dataclasses.fields(common)]
        if "policy" in self.other:
            fields += [field(name, *option, POLICY.get(name, "")) for name, option in {**options_of(Policy), "bn": (str, "")}.items()]
        return dataclasses.make_dataclass(self.name, fields, frozen=True, namespace={"__module__": __name__})

    def check(self, count: int, options: Any) -> None:
        """ValueError where the models are too few or too many, or an option is missing."""
        least = max(2, len(self.first) + 1) if self.rest else len(self.first)
        if count < least or (count > least and not self.rest):
            wanted = f"{NUMBERS.get(least, least)} model{'s' * (least > 1)}{' or more' * bool(self.rest)}"
            raise ValueError(f"merge {self.name} takes {wanted}, got {count}; {self.usage}")
        for name, (_, default) in self.own.items():
            if default is NEEDED and getattr(options, name) is None:
                raise ValueError(f"{self.name} needs --{name.replace('_', '-')}; stockpot merge {self.name} --help says what it is")

    def policy(self, options: Any) -> Policy:
        """What the options say of ingredients that do not simply agree. BatchNorm statistics that are measured anew may be anything before."""
        if "policy" not in self.other:
            return Policy()
        given = {name: getattr(options, name) for name in options_of(Policy)}
        if self.recomputes(options):
            given["bn"] = "average"
        if given["bn"] not in (known := typing.get_args(options_of(Policy)["bn"][0])):
            raise ValueError(f"bn: expected one of {', '.join(filter(None, known))}, recompute=URL, got {given['bn']!r}")
        return Policy(**given)

    @staticmethod
    def recomputes(options: Any) -> str:
        """The data of `--bn recompute=DATA`, or ""."""
        what, _, data = getattr(options, "bn", "").partition("=")
        return data if what == "recompute" else ""

    def maker(self, name: str) -> Callable[..., Any] | None:
        """The component that makes the payload `name` of a model on data; None for predictions, which every model makes.

        Of several that give one type it is the one whose name this parameter, or the rule's own name, begins with.
        """
        if self.kept[name] is Predictions:
            return None
        made = [fn for fn in exported() if hints_of(fn).get("return") is self.kept[name] and "data" in options_of(fn)]
        fitting = [fn for fn in made if name.startswith(fn.__name__) or self.name.startswith(fn.__name__)] or made
        assert len(fitting) == 1, f"{self.name}: {name} could be made by {[fn.__name__ for fn in fitting]}"
        return fitting[0]

    def call(self, models: Sequence[Checkpoint], options: Any, run: Any) -> Any:
        """What the rule makes of the models; a combination is unevaluated."""
        rest = list(models[len(self.first) :])
        given: dict[str, Any] = {**dict(zip(self.first, models, strict=False)), **{name: getattr(options, name) for name in self.own}}
        if self.rest:
            given[self.rest] = rest
        if "policy" in self.other:
            given["policy"] = self.policy(options)
        if "run" in self.other:
            given["run"] = run
        for name, kind in self.kept.items():
            given[name] = self._payloads(name, kind, rest or models, options, run)
        return self.function(**given)

    def measured(self, made: Any, options: Any, run: Any) -> Any:
        """What the rule made, its BatchNorm statistics measured anew where `--bn` says so."""
        if not (data := self.recomputes(options)):
            return made
        import components.data.microworld  # noqa: F401 (so that --bn knows all that there is)
        from components.merge.batchnorm import recompute

        text = data if "(" in data else f"Folder({data!r})"
        return recompute(made, objects(lay(Dataset, None, text, "bn"), "bn"), run=run)

    def _payloads(self, name: str, kind: Any, models: Sequence[Checkpoint], options: Any, run: Any) -> list[Any]:
        """One for each model, read or made."""
        words = getattr(options, name)
        if words and len(words) != len(models):
            raise ValueError(f"--{name}: {len(words)} for {len(models)} models; give one for each, in their order")
        if words:
            return [kind.load(folder(word, kind, options)) for word in words]
        if options.data is None:
            raise ValueError(f"{self.name} needs --{name} A,B,C, one for each model, or --data on which to compute them")
        make = self.maker(name)
        if make is None:
            return [answers(model, options.data)[0] for model in models]
        more = {key: getattr(options, key) for key in settings_of(make)}
        for i, model in enumerate(models):  # each lies in scratch before the next is made: memory holds one
            make(model, data=options.data, run=run, **more).save(f"{run.dir}/{name}-{i}")
        return [kind.load(f"{run.dir}/{name}-{i}") for i in range(len(models))]


POLICY = {
    "dtype": "of the averaged values (default: their own)",
    "bn": "BatchNorm statistics that differ: average, from_base, or recompute=URL of a folder of training images",
    "unlike_ancestry": "proceed where the models descend from different ones",
    "unlike_preprocess": "proceed where their preprocessing differs",
}
NUMBERS = {1: "one", 2: "two", 3: "three"}
SAVED = "URLs or keys of saved ones, one for each model in their order (default: made on --data)"


def field(name: str, hint: Any, default: Any, text: str) -> tuple[str, Any, Any]:
    """A field for an option; one without a default is None until it is given."""
    text = text or ("needed" if default is NEEDED else "" if default is None else f"default {shown(written(default))}")
    if default is NEEDED or default is None:
        hint, default = typing.Optional[hint], None  # noqa: UP045 (of a value)
    return name, hint, dataclasses.field(default=default, metadata={"help": text})


def settings_of(make: Callable[..., Any] | None) -> dict[str, tuple[Any, Any]]:
    """The options of what makes a payload."""
    return {name: (hint, default) for name, (hint, default) in options_of(make).items() if default is not NEEDED} if make else {}


def folder(word: str, kind: type, where: Where) -> str:
    """The folder of a saved payload: a path, a URL or a key of the store."""
    if "/" in word or os.path.isdir(word):
        return word
    try:
        return payload(word, where, kind.__name__, kind.__module__)
    except LookupError as error:
        raise ValueError(f"{word!r} is no folder, and {error.args[0]}") from None


def exported() -> list[Callable[..., Any]]:
    """The components of `components.merge`."""
    found = [getattr(components.merge, name) for name in components.merge.__all__]
    return [fn for fn in found if inspect.isfunction(fn)]


def rules() -> dict[str, Rule]:
    """The rules by name: what gives a model, or makes of one what another rule wants."""
    found = {fn.__name__: Rule(fn) for fn in exported() if fn.__name__ not in PICKS}
    wanted = {kind for rule in found.values() for kind in rule.kept.values()}
    return {name: rule for name, rule in found.items() if rule.gives_model or (rule.first and hints_of(rule.function).get("return") in wanted)}


def chosen(argv: Sequence[str], common: type) -> tuple[Rule, list[str], Any]:
    """(rule, names of the models, options) of the words after `stockpot merge`; prints the help where it is asked for."""
    known = rules()
    hints = {name: hint for rule in known.values() for name, (hint, _) in rule.options.items()}
    words, flags = divided(argv, {**hints, **{name: hint for name, (hint, _) in options_of(Policy).items()}, **hints_of(common)})
    if "help" in flags and not words:
        parse(argv, common, usage(known))
    name = words[0] if words else ""
    if name not in known:
        raise ValueError(f"{name!r} is not a rule{near(name, known)}; there are {', '.join(known)}")
    rule = known[name]
    form = rule.form(common)
    mine = {each.name for each in dataclasses.fields(form)}
    for flag in sorted({flag.split(".")[0] for flag in flags} - mine - {"help"}):
        if having := [other.name for other in known.values() if flag in other.options]:
            raise ValueError(f"--{flag} is no option of {name}, but of {', '.join(having)}")
    options: Any
    words, options = parse(argv, form, f"{rule.usage}\n\n{described(rule.function, rule.options)[0]}\n\n{MODELS}")
    rule.check(len(words) - 1, options)
    return rule, words[1:], options


MODELS = "A model is a checkpoint folder or URL, a key of the store, or a study (its winner)."


def usage(known: Mapping[str, Rule]) -> str:
    """The help of the command: the rules by the first lines of their docstrings."""
    lines = ["usage: stockpot merge RULE A B C ... --out URL [--plan]", "", "rules:"]
    width = max(map(len, known))
    for name, rule in known.items():
        claim = (inspect.getdoc(rule.function) or "").splitlines()[0]
        lines += textwrap.wrap(claim, WIDTH, break_on_hyphens=False, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
    return "\n".join([*lines, "", MODELS, "stockpot merge RULE --help tells more, and lists the options of a rule."])
