"""A model kind whose parameters are the coefficients between other models: what trains a learned soup, one tensor in memory at a time.

The gradient of a coefficient is the inner product of the weights' gradient with its ingredient, so that a step reads every ingredient
twice and holds none: memory is that of one model and its gradient, whatever their number (the learned soups of arXiv:2203.05482).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.autograd.function import once_differentiable

from components.models.classifier import Classifier
from components.weights import Checkpoint, Combination, Policy, Vector, mean
from components.weights.assembly import Assembly
from components.weights.layout import DTYPES, raw_bytes, widen
from components.weights.threads import cores

SLAB = 1 << 18  # values of one tensor that a thread holds at once
STEPS = 10**6  # coefficients are rounded to so many parts of 1 before they are made to sum to it
Wide = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture(Vector):
    """The models' mean, with coefficients that train: `alpha` [rows, M], whose softmax is a point of the simplex, and `log_beta`.

    by: one row for the whole model, or one for each tensor in which the models differ. beta, an inverse temperature, scales the logits
    of the module and is no part of the soup. scratch: folder of a local disk for copies of remote models, which every step reads.
    """

    models: tuple[Checkpoint, ...]
    by: Literal["model", "layer"] = "model"
    policy: Policy = field(default_factory=Policy)
    scratch: str = ""

    @cached_property
    def uniform(self) -> Combination:
        """Where training starts, and what it leaves alone: integers, and what the policy takes from elsewhere."""
        return mean(self.models, self.policy)

    @cached_property
    def assembly(self) -> Assembly:
        rows = len(self.layers) if self.by == "layer" else 1
        start = {"alpha": np.zeros((rows, len(self.models)), np.float32), "log_beta": np.zeros((), np.float32)}
        return Checkpoint.of(start, {**self.uniform.spec, "kind": "mixture"}, self.uniform.extras).assembly

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The averaged tensors of which some ingredient's differs; any mixture of the others is what all have. ValueError for none."""
        plans = self.uniform.assembly.plans
        averaged = [key for role in ("model", "head") if role in plans for key in plans[role].report["averaged"]]
        found = tuple(key for key in averaged if any(self._differs(key, *slab) for slab in self.slabs(key)))
        if not found:
            raise ValueError(f"nothing to learn between {len(self.models)} models with equal weights: give models that differ")
        return found

    def _differs(self, key: str, low: int, high: int) -> bool:
        first, *others = self.values(key, low, high)
        return not all(np.array_equal(first, other) for other in others)

    def slabs(self, key: str) -> list[tuple[int, int]]:
        """The bounds in which a tensor is read, flat."""
        count = self._places[0][key][1].count
        return [(low, min(low + SLAB, count)) for low in range(0, count, SLAB)]

    def values(self, key: str, low: int, high: int) -> Iterator[NDArray[Any]]:
        """These values of a tensor in one model after another, each float16 or wider and valid until the next."""
        for places in self._places:
            reader, entry = places[key]
            dtype = DTYPES[entry.dtype]
            raw = np.empty(high - low, dtype)
            reader.read(entry.start + low * dtype.itemsize, raw_bytes(raw))
            yield widen(raw)

    @cached_property
    def _places(self) -> list[Mapping[str, Any]]:
        """For each model: key -> (reader, entry)."""
        return [
            {key: (reader, entry) for part in self._near(i, one).parts.values() for reader in [part.reader()] for key, entry in part.layout.items()}
            for i, one in enumerate(self.models)
        ]

    def _near(self, i: int, one: Checkpoint) -> Checkpoint:
        if "://" not in one.url or not self.scratch:
            return one
        url = os.path.join(self.scratch, f"ingredient-{i}")
        one.save(url)
        return Checkpoint(url)

    def combination(self) -> Combination:
        return self.uniform

    def collapse(self, trained: Vector) -> Combination:
        """The soup of trained coefficients, exactly on the simplex: rounded to millionths, then divided by their sum. Facts: alphas, beta.

        Equal coefficients become 1/M each, so that a mixture nobody trained is the uniform soup to the bit.
        """
        tensors = dict(trained.tensors())
        shares = np.rint(softmax(tensors["alpha"]) * STEPS).astype(np.int64)
        exact = [[Fraction(int(n), int(row.sum())) for n in row] for row in shares]
        told = [[round(float(number), 6) for number in row] for row in exact]
        if self.by == "model":
            weights: Any = exact[0]
            alphas: Any = told[0]
        else:
            rest = [("*", Fraction(1, len(self.models)))]
            names = [glob.escape(key) for key in self.layers]
            weights = [[*((name, row[i]) for name, row in zip(names, exact, strict=True)), *rest] for i in range(len(self.models))]
            alphas = dict(zip(self.layers, told, strict=True))
        terms = [one * weight for one, weight in zip(self.models, weights, strict=True)]
        soup: Combination = sum(terms[1:], terms[0]).under(self.policy)
        return soup.describe(by=self.by, alphas=alphas, beta=round(float(np.exp(np.float64(tensors["log_beta"]))), 6))

    def module(self, inner: Classifier) -> Mixed:
        """The module whose parameters are the coefficients. inner: the uniform soup's, which becomes its scratch space."""
        return Mixed(self, inner)


def softmax(rows: NDArray[Any]) -> Wide:
    """Each row's softmax in float64."""
    powers = np.exp(rows.astype(np.float64) - rows.max(axis=1, keepdims=True))
    shares: Wide = powers / powers.sum(axis=1, keepdims=True)
    return shares


class Mixed(Classifier):
    """A classifier that answers as the mixture does, and passes gradients on to its coefficients. Only `forward` mixes."""

    alpha: nn.Parameter
    log_beta: nn.Parameter

    def __init__(self, mixture: Mixture, inner: Classifier) -> None:
        nn.Module.__init__(self)
        self.spec, self.extras, self.preprocess, self.classes = inner.spec, inner.extras, inner.preprocess, inner.classes
        self.inner, self.head = inner, inner.head
        for name in ("mean", "std"):
            self.register_buffer(name, getattr(inner, name), persistent=False)
        for name, array in mixture.tensors():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(array.copy()).to(self.mean.device)))
        pool, slots = ThreadPoolExecutor(cores()), inner.slots()
        self.sites = [(key if key.startswith("head.") else f"model.{key}", Site(mixture, key, slots[key], pool)) for key in mixture.layers]

    def slots(self) -> dict[str, torch.Tensor]:
        return {"alpha": self.alpha, "log_beta": self.log_beta}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.alpha.double().softmax(dim=1).expand(len(self.sites), -1)
        weights = {name: Mix.apply(row, site) for row, (name, site) in zip(rows, self.sites, strict=True)}
        answers: torch.Tensor = torch.func.functional_call(self.inner, weights, (images,))
        return answers if self.head is None else answers * self.log_beta.exp()


class Site:
    """One tensor of a mixture and where its mixture lies."""

    def __init__(self, mixture: Mixture, key: str, slot: torch.Tensor, pool: ThreadPoolExecutor) -> None:
        self.mixture, self.key, self.slot, self.pool = mixture, key, slot, pool
        self.slabs = mixture.slabs(key)
        self.at: Wide | None = None  # the coefficients of what the slot holds

    def _each(self, work: Callable[[tuple[int, int]], Any]) -> list[Any]:
        """`work` on every slab, in threads, the results in order."""
        return list(self.pool.map(work, self.slabs)) if len(self.slabs) > 1 else [work(slab) for slab in self.slabs]

    def fill(self, weights: Wide) -> None:
        """Mix into the slot, summed in float64, unless that is what it holds."""
        if self.at is None or not np.array_equal(self.at, weights):
            self._each(partial(self._fill, self.slot.view(-1), weights))
            self.at = weights

    def _fill(self, flat: torch.Tensor, weights: Wide, slab: tuple[int, int]) -> None:
        total = np.zeros(slab[1] - slab[0])
        for weight, values in zip(weights, self.mixture.values(self.key, *slab), strict=True):
            total += np.multiply(values, weight, dtype=np.float64)
        flat[slice(*slab)].copy_(torch.from_numpy(total))

    def products(self, gradient: torch.Tensor) -> Wide:
        """The inner product of a gradient with each ingredient's tensor, [M]."""
        total: Wide = np.sum(self._each(partial(self._products, gradient.reshape(-1))), axis=0)
        return total

    def _products(self, flat: torch.Tensor, slab: tuple[int, int]) -> list[float]:
        gradient = flat[slice(*slab)].double().cpu().numpy()
        return [float(np.dot(values.astype(np.float64), gradient)) for values in self.mixture.values(self.key, *slab)]


class Mix(torch.autograd.Function):
    """weights [M] in float64 -> the mixture of a site's tensor. Neither direction keeps an ingredient."""

    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, site: Site) -> torch.Tensor:
        ctx.site = site
        site.fill(weights.detach().cpu().numpy())
        return site.slot.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(ctx.site.products(gradient)).to(gradient.device), None
