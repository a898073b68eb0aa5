"""How noisy the gradient of each estimator is, relative to the shared draw: a table.

python benchmarks/variance.py        about two minutes
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import posterity as po
from posterity.methods.vi.estimators.estimator import draw_noise, expected_log_likelihood, plan
from posterity.methods.vi.families.mean_field import MeanField
from posterity.model.net_target import Batch, Target

DRAWS = 1_000
ESTIMATORS: tuple[Any, ...] = ("shared", "flipout", "local", "local-per-position")


def problems() -> dict[str, tuple[po.Model, np.ndarray, np.ndarray]]:
    """A net of each kind, with data it can learn from."""
    rng = np.random.default_rng(0)
    x, y, _, _ = po.data.moons()
    images = rng.random((128, 8, 8, 1), np.float32)
    bright = (images[:, :4].mean((1, 2, 3)) > images[:, 4:].mean((1, 2, 3))).astype(int)
    series = rng.normal(size=(128, 10, 2)).astype(np.float32)
    ahead = (series[:, :, 0].sum(1) > 0).astype(int)
    normal, two = po.priors.Normal(0, 1), po.likelihoods.Categorical(2)
    mlp = po.nets.MLP(2, [50, 50], 2, activation=jnp.tanh)
    cnn = po.nets.CNN((8, 8, 1), [6, 12], [32], 2)
    gru = po.nets.Recurrent(2, 8, 2)
    return {
        "MLP 2-50-50-2": (po.Model(mlp, normal, two), x[:128], y[:128].astype(int)),
        "CNN 6-12-32-2": (po.Model(cnn, normal, two), images, bright),
        "GRU 2-8-2": (po.Model(gru, normal, two), series, ahead),
    }


def variance(model: po.Model, x: np.ndarray, y: np.ndarray, phi: Any, estimator: Any) -> float:
    """Total variance of the gradient of the expected log likelihood over φ."""
    target = Target.build(model, x.shape[1:], (), len(x))
    batch, family = Batch(jnp.asarray(x), jnp.asarray(y, jnp.int32)), MeanField()
    chosen = plan(target, estimator)

    def value(phi: jax.Array, key: jax.Array) -> jax.Array:
        theta = family.push(phi, jax.random.normal(key, (1, target.size)))[0]
        noise = None if chosen.shared else draw_noise(chosen, key, len(x), batch.x.dtype)
        moments = family.mean_and_sd(phi)
        return expected_log_likelihood(target, chosen, moments, theta, noise, batch)

    keys = jax.random.split(jax.random.key(1), DRAWS)
    gradients = jax.jit(lambda keys: jax.lax.map(lambda key: jax.grad(value)(phi, key), keys))
    return float(np.asarray(gradients(keys), np.float64).reshape(DRAWS, -1).var(0).sum())


def main() -> None:
    print("| net | q | " + " | ".join(ESTIMATORS) + " |")
    print("| --- | --- |" + " ---: |" * len(ESTIMATORS))
    for name, (model, x, y) in problems().items():
        method = po.ADVI(steps=2_000, estimator="flipout", stop=False, starts=1)
        fitted = po.fit(model, (x, y), method, progress=False).distribution
        start = MeanField().init(jax.random.key(0), fitted.mean, 0.1)
        found = jnp.stack([fitted.mean, jnp.log(jnp.expm1(fitted.sd))])
        for label, phi in (("sd 0.1", start), ("fitted", found)):
            noise = [variance(model, x, y, phi, estimator) for estimator in ESTIMATORS]
            cells = " | ".join(f"{each / noise[0]:.2f}" for each in noise)
            print(f"| {name} | {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
