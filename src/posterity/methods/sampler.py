"""What all samplers share: settings of a run of chains, and draws as its result."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.checks import MOST_NUMBERS, MOST_SIDE_BY_SIDE, Settings
from posterity.distributions.draws import Draws
from posterity.methods.method import AbstractMethod, Fitted, of_chain
from posterity.model.net_target import Target


class AbstractSampler(AbstractMethod):
    """A method whose draws of θ are the result.

    Subclasses hold the settings of a run: `chains`, `warmup`, `draws` and `thin`.
    """

    draws: int

    collects = True

    def _run_settings(self, warmup: int = 1) -> Settings:
        """What is wrong with the settings of the run.

        Args:
            warmup: the shortest that is allowed.
        """
        wrong = Settings(type(self).__name__)
        wrong.counts(most=MOST_SIDE_BY_SIDE, chains=self.chains)
        wrong.counts(draws=self.draws, thin=self.thin)
        # Where its default follows from the two others, it is not known before they are.
        wrong.counts(
            least=warmup, none="draws" in wrong.named or "thin" in wrong.named, warmup=self.warmup
        )
        if not wrong.named and self.warmup + self.draws * self.thin > MOST_NUMBERS:
            wrong.say(
                f"warmup + draws × thin must be at most {MOST_NUMBERS:,}, not "
                f"{self.warmup + self.draws * self.thin:,}"
            )
        return wrong

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
