"""Moons ADVI by Posterity, as its README writes it."""
# ruff: noqa: E402  (imports are timed)

# Parts of the library are imported when named; a signature must not do that between two clocks.
from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from childkit import Clock, arguments, final_loss, fitted, load, report, timed

_imports = Clock()
import jax
import jax.numpy as jnp
import numpy as np
import optax

import posterity as po
from posterity.data.batches import as_batches

IMPORT_SECONDS = _imports.seconds()


def check(model: po.Model, data: Any, batch_size: int | None) -> None:
    """What `fit` does to data before its first step, the copy to the device included."""
    train = (data.x_train, data.y_train)
    jax.block_until_ready(as_batches(train, model.likelihood, batch_size))


def main() -> None:
    args = arguments()
    data = load(args.data)

    def build() -> tuple[po.Model, po.ADVI]:
        net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
        model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
        # A given optimiser is used as it is, from one start: a step is then what it is to peers.
        optimizer = optax.adam(0.01) if args.plain_adam else None
        # stop=False: all steps are taken, as by the peers.
        method = po.ADVI(
            steps=args.steps, batch_size=args.batch_size, optimizer=optimizer, stop=False
        )
        return model, method

    def fit(model: po.Model, method: po.ADVI, seed: int) -> tuple[po.Posterior, np.ndarray]:
        train = (data.x_train, data.y_train)
        posterior = po.fit(model, train, method, seed=seed, progress=False)
        return posterior, np.asarray(posterior.history.elbo)  # reading it waits for the device

    construction, (model, method) = timed(build)
    first, (posterior, elbo) = timed(lambda: fit(model, method, 0))
    fitted()
    second, _ = timed(lambda: fit(model, method, 1))
    # What a step costs beyond what a fit costs: a longer fit against this one. The bare rows time
    # nothing but their loop, so this is the rate to hold against theirs.
    longer = dataclasses.replace(method, steps=4 * args.steps)
    fit(model, longer, 2)  # compiles
    fourfold, _ = timed(lambda: fit(model, longer, 1))
    checks = [timed(lambda: check(model, data, args.batch_size))[0] for _ in range(5)]
    labels = np.asarray(posterior.predict(data.x_test).label).reshape(-1)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=construction + first,
        second_fit_seconds=second,
        check_percent=100 * statistics.median(checks) / second,
        steps=args.steps,
        steps_per_second=args.steps / second,
        loop_steps_per_second=3 * args.steps / (fourfold - second),
        final_loss=final_loss(-elbo),
        test_accuracy=float((labels == data.y_test).mean()),
    )


main()
