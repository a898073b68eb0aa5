"""What all samplers share: settings of a run of chains, and draws as its result."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.distributions.draws import Draws
from posterity.methods.checks import check_counts
from posterity.methods.method import AbstractMethod, Fitted, of_chain
from posterity.model.net_target import Target


class AbstractSampler(AbstractMethod):
    """A method whose draws of θ are the result.

    Subclasses hold the settings of a run: `chains`, `warmup`, `draws` and `thin`.
    """

    draws: int

    collects = True

    def _check_counts(self, **others: int | None) -> None:
        """Refuse settings of the run that are no whole numbers from 1, and `others` likewise."""
        check_counts(
            type(self).__name__,
            chains=self.chains,
            draws=self.draws,
            thin=self.thin,
            **others,
        )

    @property
    def total_steps(self) -> int:
        """Warm-up and kept steps of each chain."""
        return self.warmup + self.steps_for(self.draws * self.thin)

    def steps_for(self, kept: int) -> int:
        """How many steps after the warm-up it takes for `kept` of them to belong to the result."""
        return kept

    def finish(self, target: Target, state: Any, draws: Draws | None, memory: Any) -> Fitted:
        """The kept draws; of a run that was stopped before the first, the current θ."""
        if draws is None:
            each = [self.theta(of_chain(state, number)) for number in range(self.chains)]
            draws = Draws(np.stack(each)[:, None])
        return Fitted(draws, target, self.facts(state))

    def facts(self, state: Any) -> dict[str, Any]:
        """What the warm-up and the chains have found beside the draws: nothing by default."""
        return {}
