"""The sinusoid with a gap by BlackJAX's NUTS after its own window adaptation."""
# ruff: noqa: E402  (imports are timed)

import os

from childkit import Clock, arguments, fitted, load, report, timed

CHAINS = 4
# One CPU device per chain, as NumPyro's `set_host_device_count` has it; before JAX starts.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CHAINS}"
_imports = Clock()
from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats

IMPORT_SECONDS = _imports.seconds()

from chainkit import Compilation

HIDDEN = 5
Weights = dict[str, jax.Array]
SHAPES = {"first": (1, HIDDEN), "first_bias": (HIDDEN,), "last": (HIDDEN,), "last_bias": ()}


def log_density(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """1-5-1, tanh, N(0, 10) on weights and biases; the root of the noise sd is Gamma(0.5, 1)."""
    root = jnp.exp(weights["log_root"])
    prior = sum(stats.norm.logpdf(weights[name], 0, 10).sum() for name in SHAPES)
    prior += stats.gamma.logpdf(root, 0.5) + weights["log_root"]  # with the Jacobian of exp
    hidden = jnp.tanh(x @ weights["first"] + weights["first_bias"])
    mean = hidden @ weights["last"] + weights["last_bias"]
    return prior + stats.norm.logpdf(y, mean, root**2).sum()


def start(key: jax.Array) -> Weights:
    """Uniform on (-2, 2), where NumPyro and Pyro start."""
    shapes = {**SHAPES, "log_root": ()}
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.uniform(key, shape, minval=-2, maxval=2)
        for key, (name, shape) in zip(keys, shapes.items())
    }


def chain(key: jax.Array, x: jax.Array, y: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    """Leapfrogs of each step: of the warm-up, and of as many draws."""

    def density(weights: Weights) -> jax.Array:
        return log_density(weights, x, y)

    for_start, for_warmup, for_draws = jax.random.split(key, 3)
    adaptation = blackjax.window_adaptation(blackjax.nuts, density)
    (state, tuned), warmup = adaptation.run(for_warmup, start(for_start), num_steps=steps)
    kernel = blackjax.nuts(density, **tuned)

    def draw(state: object, key: jax.Array) -> tuple[object, tuple[Weights, jax.Array]]:
        state, info = kernel.step(key, state)
        return state, (state.position, info.num_integration_steps)

    _, (_, counts) = jax.lax.scan(draw, state, jax.random.split(for_draws, steps))
    return warmup.info.num_integration_steps, counts


def layout(name: str) -> Callable[..., Callable[..., tuple[jax.Array, jax.Array]]]:
    """How the documentation runs several chains: a device for each, or all in step on one."""
    return jax.pmap if name == "parallel" else lambda chains: jax.jit(jax.vmap(chains))


def main() -> None:
    args = arguments()
    data = load(args.data)
    compilation = Compilation()

    def fit() -> tuple[np.ndarray, np.ndarray]:
        x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
        run = layout(args.chains)(lambda key: chain(key, x, y, args.steps))
        warmup, counts = run(jax.random.split(jax.random.key(0), CHAINS))
        return np.asarray(warmup), np.asarray(counts)

    seconds, (warmup, counts) = timed(fit)
    fitted()
    leapfrogs = int(warmup.sum() + counts.sum())
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=seconds,
        compile_seconds=compilation.seconds,
        leapfrogs=leapfrogs,
        kept_leapfrogs=int(counts.sum()),
        leapfrogs_per_second=leapfrogs / (seconds - compilation.seconds),
    )


main()
