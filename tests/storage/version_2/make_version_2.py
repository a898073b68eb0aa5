"""Write the files of format 2 beside this script, as the library of commit 77b640a wrote them.

Run in a checkout of that commit: ``python make_version_2.py``. In `own.safetensors` a net and a
likelihood of ones own answer a probe at one draw; `described.safetensors` has no probe.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po
from posterity.distributions.normal import Gaussian
from posterity.model.net_target import Target

HERE = Path(__file__).parent


def one(x: object) -> object:
    return jnp.tanh(x)


class Doubled(po.likelihoods.Normal):
    factor: float = 2.0

    def __init__(self, factor: float) -> None:
        super().__init__(0.5)
        self.factor = factor

    def distribution(self, outputs: object, unknowns: object) -> object:
        return dist.Normal(self.factor * outputs[:, 0], 0.5)


def write(name: str, activation: object, likelihood: object) -> None:
    net = po.nets.MLP(1, [2], 1, activation=activation)
    target = Target.build(po.Model(net, po.priors.Normal(), likelihood), (1,), (), 10)
    q = Gaussian(jnp.asarray(np.linspace(-1, 1, 7), jnp.float32), jnp.full(7, 0.1, jnp.float32))
    po.Posterior(target, q, settings={"method": "handmade"}).save(HERE / name)


if __name__ == "__main__":
    write("own.safetensors", one, Doubled(2.0))
    write("described.safetensors", jnp.tanh, po.likelihoods.Normal(0.5))
