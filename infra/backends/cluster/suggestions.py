"""Points of a search from Optuna: the only importer of optuna, and no importer of Ray, so that a search without it learns as well."""

from __future__ import annotations

import hashlib
from typing import Any

from infra.search import FAILED, STOPPED, Search, Trial
from infra.space import Choice

BELOW_ONE = 1.0 - 2.0**-53


class Learned:
    """Points by a tree-structured Parzen estimator. A knob is searched by its quantile, so that any distribution is its own prior.

    Each point has a sampler of its own, seeded by (seed, trial): what an interrupted search suggests next does not repeat what it had suggested.
    """

    def __init__(self, search: Search) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.search = optuna, search
        self.study = optuna.create_study(direction="maximize")
        quantiles = optuna.distributions.FloatDistribution(0.0, 1.0)
        self.knobs: dict[str, Any] = {
            path: optuna.distributions.CategoricalDistribution(knob.values) if isinstance(knob, Choice) else quantiles
            for path, knob in search.over.items()
        }

    def suggest(self, trial: Trial) -> None:
        word = hashlib.sha256(f"{self.search.searcher.seed}/{trial.index}".encode()).digest()[:4]
        self.study.sampler = self.optuna.samplers.TPESampler(seed=int.from_bytes(word, "big"))
        asked = self.study.ask(self.knobs)
        self.study.tell(asked, state=self.optuna.trial.TrialState.FAIL)  # it is told anew when it has ended
        trial.asked = dict(asked.params)
        knobs = ((path, self.search.over[path], found) for path, found in asked.params.items())
        trial.point = {path: found if isinstance(knob, Choice) else knob.at(min(found, BELOW_ONE)) for path, knob, found in knobs}

    def ended(self, trial: Trial) -> None:
        """Learn from a trial that ended; one that was stopped counts for less than any that was not, as Optuna has it for pruned ones."""
        if trial.state == FAILED or not trial.looks:
            return
        step, value, _ = trial.looks[-1]
        states, stopped = self.optuna.trial.TrialState, trial.state == STOPPED
        self.study.add_trial(self.optuna.trial.create_trial(
            state=states.PRUNED if stopped else states.COMPLETE, value=value, params=trial.asked, distributions=self.knobs,
            intermediate_values={step: value} if stopped else {},
        ))  # fmt: skip
