"""A deep ensemble: several modes, found side by side. Lakshminarayanan et al. 2017."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import posterity as po
from posterity.methods.method import Fitted


@dataclasses.dataclass(frozen=True)
class DeepEnsemble(po.MAP):
    """`chains` modes of the posterior, each from initial weights of its own.

    The result has the modes as draws of equal weight. The fact ``distances`` says how far apart
    they are, as root mean square differences of their θ (chain, chain): members that fell into one
    mode are at 0.
    """

    chains: int = 5

    def finish(self, target: Any, state: Any, draws: Any, memory: Any) -> Fitted:
        """The modes, and how far apart they are."""
        apart = state.position[:, None] - state.position
        facts = {"distances": np.sqrt(np.mean(apart**2, axis=-1))}
        return super().finish(target, state, draws, memory)._replace(facts=facts)
