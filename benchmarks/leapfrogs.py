"""What a leapfrog costs beside its gradient, in our samplers and BlackJAX's: a table.

python benchmarks/leapfrogs.py        about a minute

The log joint is that of the sinusoid with a gap. Rows alternate; a figure is the median of five.
Paths start where a short run of NUTS has come to.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from blackjax.mcmc import hmc, mclmc, nuts

import posterity as po
from posterity.methods.mcmc.mass_matrix import Diagonal
from posterity.methods.mcmc.microcanonical import Moving, moved, refreshed, unit
from posterity.methods.mcmc.paths import Point, leapfrog, no_u_turn
from posterity.run import runner as loop

REPEATS = 5
GRADIENTS = 20_000  # about as many in each measurement
DEPTH = 10
STEP = 1e-4  # of long paths, and of the rows whose cost does not depend on it
LENGTH = 4.0
Timed = Callable[[int], Any]
"""Runs so many steps; returns the number of gradients they took."""


class Problem(NamedTuple):
    """A log joint, and where NUTS has come to in it."""

    name: str
    log_joint: Callable[[jax.Array], jax.Array]
    theta: jax.Array
    step: jax.Array
    var: jax.Array


def gap() -> tuple[po.Model, tuple[np.ndarray, np.ndarray]]:
    """MLP 1-5-1 with wide priors and an unknown noise level, on 1,000 rows."""
    rng = np.random.default_rng(42)
    x = np.concatenate([np.linspace(-0.2, 0.2, 500), np.linspace(0.6, 1.0, 500)])
    eps = 0.02 * rng.normal(size=len(x))
    y = x + 0.3 * np.sin(2 * np.pi * (x + eps)) + 0.3 * np.sin(4 * np.pi * (x + eps)) + eps
    square = dist.transforms.PowerTransform(2.0)
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), square)
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(0, 10), po.likelihoods.Normal(scale=noise))
    return model, (x[:, None], y)


def problems() -> list[Problem]:
    """Long paths with small steps, short ones with the steps and metric of a short run of NUTS."""
    model, data = gap()
    method = po.NUTS(chains=1, warmup=300, draws=100)
    posterior = po.fit(model, data, method, seed=1, progress=False)
    draws = jnp.asarray(posterior.sample(100))[0]
    batch = posterior.whole(data)

    def log_joint(theta: jax.Array) -> jax.Array:
        return posterior.target.log_joint(theta, batch)

    ones, tiny = jnp.ones_like(draws[-1]), jnp.asarray(STEP, draws.dtype)
    step = jnp.asarray(posterior.history.step_size[0, -1])
    return [
        Problem("long paths", log_joint, draws[-1], tiny, ones),
        Problem("short paths", log_joint, draws[-1], step, jnp.var(draws, axis=0)),
    ]


def bare(p: Problem) -> Timed:
    """Leapfrog steps and nothing else."""
    density, metric = jax.value_and_grad(p.log_joint), Diagonal(jnp.ones_like(p.theta))

    @jax.jit
    def run(n: jax.Array) -> Any:
        value, gradient = density(p.theta)
        start = Point(p.theta, jnp.ones_like(p.theta), gradient, value), value

        def body(_: Any, carry: Any) -> Any:
            point = leapfrog(density, metric, carry[0], jnp.asarray(STEP, value.dtype))
            return point, carry[1] + point.log_joint  # so that no step is without use

        return jax.lax.fori_loop(0, n, body, start), n

    return run


def ours_nuts(p: Problem) -> Timed:
    """`no_u_turn`, path after path."""
    density, metric = jax.value_and_grad(p.log_joint), Diagonal(p.var)

    @jax.jit
    def run(n: jax.Array) -> Any:
        def body(index: jax.Array, carry: Any) -> Any:
            theta, value, gradient, leaves = carry
            key, path_key = jax.random.split(jax.random.fold_in(jax.random.key(1), index))
            momentum = metric.momentum(jax.random.normal(key, theta.shape, theta.dtype))
            start = Point(theta, momentum, gradient, value)
            path = no_u_turn(density, metric, path_key, start, p.step, DEPTH)
            return path.theta, path.log_joint, path.gradient, leaves + path.leapfrogs

        end = jax.lax.fori_loop(0, n, body, (p.theta, *density(p.theta), 0))
        return end, end[3]

    return run


def blackjax_nuts(p: Problem) -> Timed:
    """BlackJAX's kernel, path after path."""
    density, kernel = jax.value_and_grad(p.log_joint), nuts.build_kernel()

    @jax.jit
    def run(n: jax.Array) -> Any:
        def body(index: jax.Array, carry: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(1), index)
            state, info = kernel(key, carry[0], p.log_joint, p.step, p.var, DEPTH)
            return state, carry[1] + info.num_integration_steps

        end = jax.lax.fori_loop(0, n, body, (hmc.HMCState(p.theta, *density(p.theta)), 0))
        return end, end[1]

    return run


def ours_mclmc(p: Problem) -> Timed:
    """`moved` between two refreshments, which is what BlackJAX's kernel does."""
    density, metric = jax.value_and_grad(p.log_joint), Diagonal(jnp.ones_like(p.theta))

    @jax.jit
    def run(n: jax.Array) -> Any:
        keys = _keys()
        value, gradient = density(p.theta)
        half = jnp.asarray(STEP / LENGTH / 2, value.dtype)

        def body(index: jax.Array, carry: Any) -> Any:
            point, errors = carry
            noise = jax.random.normal(keys[index], (2, *p.theta.shape), p.theta.dtype)
            point = point._replace(direction=refreshed(point.direction, noise[0], half))
            point, change = moved(density, point, metric, jnp.asarray(STEP, value.dtype))
            point = point._replace(direction=refreshed(point.direction, noise[1], half))
            return point, errors + change**2

        start = Moving(p.theta, unit(jnp.ones_like(p.theta)), gradient, value)
        return jax.lax.fori_loop(0, n, body, (start, jnp.zeros_like(value))), 2 * n

    return run


def blackjax_mclmc(p: Problem) -> Timed:
    """BlackJAX's kernel, as it comes."""
    kernel, sd = mclmc.build_kernel(), jnp.ones_like(p.theta)

    @jax.jit
    def run(n: jax.Array) -> Any:
        keys = _keys()

        def body(index: jax.Array, carry: Any) -> Any:
            key, step = keys[index], jnp.asarray(STEP, p.theta.dtype)
            length = jnp.asarray(LENGTH, p.theta.dtype)
            state, info = kernel(key, carry[0], p.log_joint, sd, length, step)
            return state, carry[1] + info.energy_change**2

        start = mclmc.init(p.theta, p.log_joint, jax.random.key(0))
        zero = jnp.zeros((), p.theta.dtype)
        return jax.lax.fori_loop(0, n, body, (start, zero)), 2 * n

    return run


def _keys() -> jax.Array:
    """One for each step, made at once, as in our loop."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return fold(jax.random.key(1), jnp.arange(GRADIENTS))


ROWS = {
    "bare leapfrogs": bare,
    "NUTS, ours": ours_nuts,
    "NUTS, BlackJAX": blackjax_nuts,
    "MCLMC, ours": ours_mclmc,
    "MCLMC, BlackJAX": blackjax_mclmc,
}


def rate(run: Timed, steps: int) -> tuple[float, int]:
    """Gradients per second, and how many there were."""
    began = time.perf_counter()
    _, gradients = jax.block_until_ready(run(steps))
    return int(gradients) / (time.perf_counter() - began), int(gradients)


def table(p: Problem) -> None:
    """Measure and print the rows of a problem."""
    runs = {name: make(p) for name, make in ROWS.items()}
    # Compiles, and shows how many gradients a step takes.
    each = {name: max(1, rate(run, 10)[1] // 10) for name, run in runs.items()}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
    steps = {name: max(1, GRADIENTS // count) for name, count in each.items()}
    for _ in range(REPEATS):
        for name, run in runs.items():
            found[name].append(rate(run, steps[name]))
    for name, rates in found.items():
        ratio = statistics.median(b[0] / own[0] for b, own in zip(found["bare leapfrogs"], rates))
        median = statistics.median(value for value, _ in rates)
        mean = rates[0][1] / steps[name]
        print(f"| {p.name} | {name} | {mean:,.1f} | {median:,.0f} | {ratio:.2f} |", flush=True)


def threads() -> None:
    """Chains of NUTS side by side against one after another, in alternation."""
    model, data = gap()
    method = po.NUTS(chains=4, warmup=100, draws=50)

    def seconds() -> float:
        began = time.perf_counter()
        po.fit(model, data, method, seed=1, progress=False)
        return time.perf_counter() - began

    seconds()  # compiles
    ratios = []
    for _ in range(3):
        with mock.patch.object(loop, "_cores", return_value=1):
            alone = seconds()
        ratios.append(alone / seconds())
    shown = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"\n4 chains on {loop._cores()} cores against one: {shown} times as fast")


def main() -> None:
    """Print the tables."""
    print(f"jax {jax.__version__}, blackjax {blackjax.__version__}\n")
    print("| problem | row | gradients per step | gradients/s | time ÷ bare |")
    print("| --- | --- | ---: | ---: | ---: |")
    for each in problems():
        table(each)
    threads()


if __name__ == "__main__":
    main()
