"""Moons by NumPyro's NUTS."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

IMPORT_SECONDS = _imports.seconds()

from chainkit import moons_figures

SIZES = (2, 5, 5, 1)


def network(x: jax.Array, y: jax.Array) -> None:
    """2-5-5-1, tanh, N(0, 1) on every weight and bias."""
    h = x
    for index, (width, out) in enumerate(pairwise(SIZES)):
        weight = numpyro.sample(f"w{index}", dist.Normal(0, 1).expand([width, out]).to_event(2))
        bias = numpyro.sample(f"b{index}", dist.Normal(0, 1).expand([out]).to_event(1))
        h = (jnp.tanh(h) if index else h) @ weight + bias
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=h[:, 0]), obs=y)


def main() -> None:
    args = arguments()
    if args.chains == "parallel":
        numpyro.set_host_device_count(4)
    data = load(args.data)
    mcmc = MCMC(
        NUTS(network),
        num_warmup=args.steps // 2,
        num_samples=args.steps,
        num_chains=4,
        chain_method=args.chains,
        progress_bar=False,
    )

    def fit(seed: int) -> tuple[dict[str, np.ndarray], int]:
        x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
        mcmc.run(jax.random.key(seed), x, y, extra_fields=("num_steps",))
        steps = int(mcmc.get_extra_fields()["num_steps"].sum())
        return {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}, steps

    def figures(draws: dict[str, np.ndarray]) -> dict[str, float]:
        layers = [(draws[f"w{index}"], draws[f"b{index}"]) for index in range(len(SIZES) - 1)]
        return moons_figures(layers, data)

    first, (draws, _) = timed(lambda: fit(0))
    fitted()
    second, (again, steps) = timed(lambda: fit(1))
    found = figures(again)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=second,
        gradients=steps,
        first_ess=figures(draws)["ess"],
        ess_per_second=found["ess"] / second,
        **found,
    )


main()
