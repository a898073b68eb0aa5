"""Moons by Posterity's samplers."""
# ruff: noqa: E402  (imports are timed)

from __future__ import annotations

from typing import Any

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax.numpy as jnp
import numpy as np

import posterity as po

IMPORT_SECONDS = _imports.seconds()

from chainkit import Layers, moons_figures

LAYERS = 3


def sampler(name: str, steps: int) -> Any:
    """The method of that name, its lengths in proportion to `steps` draws of NUTS."""
    if name == "nuts":
        return po.NUTS(chains=4, warmup=steps // 2, draws=steps)
    if name == "mclmc":
        return po.MCLMC(chains=4, warmup=5 * steps, draws=5 * steps, thin=10)
    length = float(name.removeprefix("mamclmc-"))
    return po.MAMCLMC(length=length, chains=4, warmup=steps // 2, draws=4 * steps)


def layers(posterior: po.Posterior) -> Layers:
    """Draws of the weights, as (in, out), and biases."""
    names = [f"layers.{index}" for index in range(LAYERS)]
    return [
        (np.swapaxes(posterior.weights(f"{n}.weight"), -1, -2), posterior.weights(f"{n}.bias"))
        for n in names
    ]


def gradients(posterior: po.Posterior, method: Any) -> int:
    """Those of the kept steps."""
    if isinstance(method, po.MCLMC):
        return 2 * method.chains * method.draws * method.thin
    return int(posterior.history.leapfrogs.sum())


def main() -> None:
    args = arguments()
    data = load(args.data)
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    method = sampler(args.method, args.steps)

    def fit(seed: int) -> po.Posterior:
        train = (data.x_train, data.y_train)
        return po.fit(model, train, method, seed=seed, progress=False)

    first, posterior = timed(lambda: fit(0))
    fitted()
    second, again = timed(lambda: fit(1))
    found = moons_figures(layers(again), data)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=second,
        gradients=gradients(again, method),
        first_ess=moons_figures(layers(posterior), data)["ess"],
        ess_per_second=found["ess"] / second,
        **found,
    )


main()
