"""A curve with a gap in its data and an unknown noise level, by NUTS and by mean-field VI.

python examples/regression_1d.py       some seconds for VI, about half a minute for NUTS

The two disagree, and should: the posterior of the weights has several modes. Variational inference
describes one of them; the chains of NUTS find several, so that it is surer of less in the gap.
"""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po


def waves(rows: int = 100, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A sine wave seen on both sides of a gap around zero."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.4, 1.0, rows) * rng.choice([-1, 1], rows)
    return x[:, None], np.sin(4 * x) + noise * rng.normal(size=rows)


def main() -> None:
    x, y = waves()
    # The noise sd has the prior of g², g ~ Gamma(1/2, 1): most of it near zero, with a long tail.
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), dist.transforms.PowerTransform(2.0))
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(0, 10), po.likelihoods.Normal(scale=noise))
    methods = [po.ADVI(steps=20_000), po.NUTS(chains=2, warmup=200, draws=200)]

    places = {"in the data": 0.7, "in the gap": 0.0, "outside": 1.5}
    for method in methods:
        posterior = po.fit(model, (x, y), method, seed=42)
        scale = posterior.weights("likelihood.scale")
        print(f"{type(method).__name__}: {posterior.facts['seconds']:.1f} s. {posterior.result}")
        print(f"  noise sd {scale.mean():.3f} ± {scale.std():.3f} (true: 0.1)")
        pred = posterior.predict(np.array(list(places.values()))[:, None])
        lower, upper = pred.interval(0.9)
        for name, mean, low, high in zip(places, pred.mean, lower, upper):
            print(f"  {name}: {mean:.2f}, 90 % from {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
