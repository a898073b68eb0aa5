"""A sinusoid with a gap in the data, whose posterior has many modes: parallel tempering.

python examples/gap.py [DRAWS]      four independent ladders (default: 1000 draws each; minutes)
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po


def sinusoid(rows: int = 1_000, seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """Inputs left and right of a gap from 0.2 to 0.6, and noisy targets."""
    rng = np.random.default_rng(seed)
    x = np.hstack([np.linspace(-0.2, 0.2, rows // 2), np.linspace(0.6, 1, rows // 2)])
    noise = 0.02 * rng.standard_normal(rows)
    waves = 0.3 * np.sin(2 * np.pi * (x + noise)) + 0.3 * np.sin(4 * np.pi * (x + noise))
    return x[:, None], x + waves + noise


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    x, y = sinusoid()
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), dist.transforms.PowerTransform(2.0))
    model = po.Model(
        po.nets.MLP(1, [5], 1, activation=jnp.tanh),
        po.priors.Normal(0, 10),
        po.likelihoods.Normal(scale=noise),
    )
    posterior = po.fit(model, (x, y), po.ParallelTempering(draws=draws), seed=42)
    print(posterior.result)
    history = posterior.history
    print("log evidence by ladder:", history.log_evidence[:, -1].round(1))
    print("restarts by ladder:", history.restarts[:, -1])
    places = {"on the data": x[::10], "in the gap": np.linspace(0.2, 0.6, 41)[:, None]}
    for name, inputs in places.items():
        found = posterior.diagnose(inputs).predictions
        assert found is not None
        print(f"{name}: r-hat {found.rhat:.3f}, bulk ESS {found.ess_bulk:.0f}")


if __name__ == "__main__":
    main()
