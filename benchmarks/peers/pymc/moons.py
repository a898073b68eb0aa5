"""Moons ADVI by PyMC's pm.fit with its own optimiser and precision, as its example gallery does."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, final_loss, fitted, load, moons_accuracy, report, timed

_imports = Clock()
from typing import Any

import numpy as np
import pymc as pm
import pytensor

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 5
SHAPES = {"first": (2, HIDDEN), "second": (HIDDEN, HIDDEN), "last": (HIDDEN,)}


def build(x: np.ndarray, y: np.ndarray, batch_size: int | None) -> pm.Model:
    """2-5-5-1, tanh, no bias, N(0, 1) on every weight; starts at a draw from the prior."""
    precision = pytensor.config.floatX
    rows = len(x)
    x, y = x.astype(precision), y.astype(precision)
    if batch_size:
        x, y = pm.Minibatch(x, y, batch_size=batch_size)
    rng = np.random.default_rng(9927)  # the gallery's start; from others its loss ends far higher
    with pm.Model() as model:
        first, second, last = (
            pm.Normal(name, 0, 1, shape=shape, initval=rng.standard_normal(shape).astype(precision))
            for name, shape in SHAPES.items()
        )
        hidden = pm.math.tanh(pm.math.dot(pm.math.tanh(pm.math.dot(x, first)), second))
        probability = pm.math.sigmoid(pm.math.dot(hidden, last))
        pm.Bernoulli("y", probability, observed=y, total_size=rows)
    return model


def main() -> None:
    args = arguments()
    data = load(args.data)

    def fit(model: pm.Model, seed: int) -> Any:
        with model:
            return pm.fit(n=args.steps, method="advi", random_seed=seed, progressbar=False)

    construction, model = timed(lambda: build(data.x_train, data.y_train, args.batch_size))
    first, posterior = timed(lambda: fit(model, 0))
    fitted()
    second, _ = timed(lambda: fit(model, 1))
    draws = posterior.sample(1000, random_seed=7).posterior
    weights = tuple(draws[name].values[0] for name in SHAPES)
    # PyMC divides a minibatch's loss by N/B; undo that, to compare with the others.
    unit = float(posterior.symbolic_normalizing_constant.eval())
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=construction + first,
        second_fit_seconds=second,
        steps=args.steps,
        steps_per_second=args.steps / second,
        final_loss=final_loss(posterior.hist) * unit,
        test_accuracy=moons_accuracy(weights, data),
    )


main()
