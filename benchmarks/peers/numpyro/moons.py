"""Moons ADVI by NumPyro's SVI with AutoDiagonalNormal, as its documentation writes it."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, final_loss, fitted, load, moons_accuracy, report, timed

_imports = Clock()
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDiagonalNormal
from numpyro.infer.svi import SVIRunResult

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 5


def network(x: jax.Array, y: jax.Array, batch_size: int | None) -> None:
    """2-5-5-1, tanh, no bias, N(0, 1) on every weight."""
    first = numpyro.sample("first", dist.Normal(0, 1).expand([2, HIDDEN]).to_event(2))
    second = numpyro.sample("second", dist.Normal(0, 1).expand([HIDDEN, HIDDEN]).to_event(2))
    last = numpyro.sample("last", dist.Normal(0, 1).expand([HIDDEN]).to_event(1))
    with numpyro.plate("rows", x.shape[0], subsample_size=batch_size) as chosen:
        if batch_size:
            x, y = x[chosen], y[chosen]
        logits = jnp.tanh(jnp.tanh(x @ first) @ second) @ last
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def main() -> None:
    args = arguments()
    data = load(args.data)
    model = partial(network, batch_size=args.batch_size)

    def build() -> SVI:
        optimiser = numpyro.optim.optax_to_numpyro(optax.adam(0.01))
        return SVI(model, AutoDiagonalNormal(model), optimiser, Trace_ELBO())

    def fit(svi: SVI, seed: int) -> SVIRunResult:
        x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
        result = svi.run(jax.random.key(seed), args.steps, x, y, progress_bar=False)
        return jax.block_until_ready(result)

    construction, svi = timed(build)
    first, result = timed(lambda: fit(svi, 0))
    fitted()
    second, _ = timed(lambda: fit(svi, 1))
    draws = svi.guide.sample_posterior(jax.random.key(7), result.params, sample_shape=(1000,))
    weights = tuple(np.asarray(draws[name]) for name in ("first", "second", "last"))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=construction + first,
        second_fit_seconds=second,
        steps=args.steps,
        steps_per_second=args.steps / second,
        final_loss=final_loss(np.asarray(result.losses)),
        test_accuracy=moons_accuracy(weights, data),
    )


main()
