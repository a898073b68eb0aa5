"""The wave by Posterity."""
# ruff: noqa: E402  (imports are timed)

from __future__ import annotations

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax
import numpy as np
import optax

import posterity as po

IMPORT_SECONDS = _imports.seconds()


def main() -> None:
    args = arguments()
    data = load(args.data)

    def fit(seed: int) -> po.Posterior:
        net = po.nets.MLP(1, [20, 20], 1, activation=jax.nn.relu)
        prior = po.priors.Normal(po.learned(0.0), 1.0)
        model = po.Model(net, prior, po.likelihoods.Normal(scale=1.0))
        method = po.ADVI(steps=args.steps, optimizer=optax.adam(0.03), init_scale=0.7, stop=False)
        return po.fit(model, (data.x_train, data.y_train), method, seed=seed, progress=False)

    def predict(posterior: po.Posterior) -> np.ndarray:
        return posterior.predict(data.x_test, draws=500).epistemic

    first, posterior = timed(lambda: fit(0))
    fitted()
    second, _ = timed(lambda: fit(1))
    predict(posterior)  # compiles
    seconds, var = timed(lambda: predict(posterior))
    inside = np.abs(data.x_test[:, 0]) <= 0.5
    band = np.sqrt(var)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=second,
        predict_seconds=seconds,
        steps=args.steps,
        final_loss=-float(posterior.history.elbo[-100:].mean()),
        band_ratio=float(band[~inside].mean() / band[inside].mean()),
    )


main()
