"""500 predictive draws on a 100 x 100 grid: the first call (compilation included), later ones."""
# ruff: noqa: E402  (imports are timed)

# Parts of the library are imported when named; a signature must not do that between two clocks.
from __future__ import annotations

import statistics

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax
import jax.numpy as jnp
import numpy as np

import posterity as po

IMPORT_SECONDS = _imports.seconds()

DRAWS = 500
WARM_CALLS = 5


def grid(x: np.ndarray, side: int = 100) -> np.ndarray:
    """A square grid over the data with a margin, one row per point."""
    axes = np.linspace(x.min(0) - 0.5, x.max(0) + 0.5, side).T
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2).astype(np.float32)


def main() -> None:
    args = arguments()
    data = load(args.data)
    points = grid(data.x_train)

    def fit() -> po.Posterior:
        net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
        model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
        method = po.ADVI(steps=args.steps, stop=False)
        posterior = po.fit(model, (data.x_train, data.y_train), method, seed=0, progress=False)
        jax.block_until_ready(posterior.history.elbo)
        return posterior

    def predict(posterior: po.Posterior) -> None:
        predictive = posterior.predict(points, draws=DRAWS)
        # What a plot of the decision boundary needs: the mean, and how sure it is.
        jax.block_until_ready((predictive.mean, predictive.sd))

    fit_seconds, posterior = timed(fit)
    fitted()
    first, _ = timed(lambda: predict(posterior))
    warm = [timed(lambda: predict(posterior))[0] for _ in range(WARM_CALLS)]
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=fit_seconds,
        first_predict_seconds=first,
        warm_predict_seconds=statistics.median(warm),
        draws=DRAWS,
        points=len(points),
    )


main()
