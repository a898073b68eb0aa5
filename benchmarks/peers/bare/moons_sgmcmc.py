"""Moons by SGLD and SGHMC in bare JAX: one compiled scan and no library."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, fitted, load, moons_accuracy, report, timed

_imports = Clock()
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

IMPORT_SECONDS = _imports.seconds()

from chainkit import Compilation

HIDDEN = 5
SHAPES = ((HIDDEN, 2), (HIDDEN, HIDDEN), (1, HIDDEN))  # (out, in): examples are columns
SIZES = tuple(rows * columns for rows, columns in SHAPES)
DIMENSION = sum(SIZES)
THIN = 10
STEP_SIZES = {"sgld": 1e-4, "sghmc": 1e-2}
FRICTION = 0.1

State = tuple[jax.Array, jax.Array]  # θ and its momentum, which SGLD leaves alone
Batch = tuple[jax.Array, jax.Array]


def unflatten(weights: jax.Array) -> list[jax.Array]:
    """The layers' matrices in a flat vector (leading axes are kept)."""
    pieces = jnp.split(weights, np.cumsum(SIZES)[:-1], axis=-1)
    return [
        piece.reshape(*weights.shape[:-1], *shape)
        for piece, shape in zip(pieces, SHAPES, strict=True)
    ]


def log_joint(weights: jax.Array, batch: Batch, rescale: float) -> jax.Array:
    """N(0, 1) prior and Bernoulli likelihood, features first: the long axis is the last one."""
    x, y = batch
    first, second, last = unflatten(weights)
    logits = (last @ jnp.tanh(second @ jnp.tanh(first @ x)))[0]
    likelihood = jnp.sum(y * logits - jax.nn.softplus(logits))
    return rescale * likelihood - 0.5 * jnp.sum(weights**2)


def sgld(state: State, noise: jax.Array, batch: Batch, rescale: float) -> State:
    """θ ← θ + ε g + √(2 ε) η."""
    theta, momentum = state
    step_size = STEP_SIZES["sgld"]
    gradient = jax.grad(log_joint)(theta, batch, rescale)
    return theta + step_size * gradient + (2 * step_size) ** 0.5 * noise, momentum


def sghmc(state: State, noise: jax.Array, batch: Batch, rescale: float) -> State:
    """Drift, kick, friction, kick, drift: the scheme of ours."""
    theta, momentum = state
    step_size, keep = STEP_SIZES["sghmc"], 1 - FRICTION
    theta = theta + 0.5 * step_size * momentum
    kick = 0.5 * step_size * jax.grad(log_joint)(theta, batch, rescale)
    momentum = keep * (momentum + kick) + (1 - keep**2) ** 0.5 * noise + kick
    return theta + 0.5 * step_size * momentum, momentum


def sorted_numbers(key: jax.Array, rows: int) -> jax.Array:
    """A permutation by random numbers whose low bits are the row: XLA sorts pairs slowly."""
    low = jnp.uint32((1 << (rows - 1).bit_length()) - 1)
    bits = jax.random.bits(key, (rows,), jnp.uint32)
    numbers = (bits & ~low) | jnp.arange(rows, dtype=jnp.uint32)
    return (jnp.sort(numbers) & low).astype(jnp.int32)


@partial(jax.jit, static_argnames=("step", "steps", "batch_size", "tuned"))
def run(
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    step: Callable[..., State],
    steps: int,
    batch_size: int,
    tuned: bool,
) -> jax.Array:
    """Every THIN-th θ. An epoch visits all rows once, in a fresh order.

    `tuned`: the noise of an epoch is drawn at once, and its order by one sort of numbers.
    """
    rows = x.shape[1]
    batches = rows // batch_size
    if rows % batch_size or steps % batches or batches % THIN:
        raise ValueError(f"{steps} steps of {batch_size} are no whole epochs of {rows} rows")

    def body(state: State, scanned: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
        drawn, chosen = scanned
        noise = drawn if tuned else jax.random.normal(drawn, (DIMENSION,))
        return step(state, noise, (x[:, chosen], y[chosen]), rows / batch_size), None

    def kept(state: State, scanned: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
        state, _ = jax.lax.scan(body, state, scanned)
        return state, state[0]

    def epoch(state: State, key: jax.Array) -> tuple[State, jax.Array]:
        for_noise, for_rows = jax.random.split(key)
        permutation = sorted_numbers if tuned else jax.random.permutation
        order = permutation(for_rows, rows).reshape(-1, THIN, batch_size)
        if tuned:
            drawn = jax.random.normal(for_noise, (*order.shape[:2], DIMENSION))
        else:
            drawn = jax.random.split(for_noise, order.shape[:2])
        return jax.lax.scan(kept, state, (drawn, order))

    for_start, for_epochs = jax.random.split(key)
    start = 0.1 * jax.random.normal(for_start, (DIMENSION,)), jnp.zeros(DIMENSION)
    _, draws = jax.lax.scan(epoch, start, jax.random.split(for_epochs, steps // batches))
    return draws.reshape(-1, DIMENSION)


def weights(draws: jax.Array) -> tuple[np.ndarray, ...]:
    """The later half of the draws, as (draw, in, out) like everybody else's."""
    first, second, last = unflatten(draws[len(draws) // 2 :])
    return np.asarray(first.mT), np.asarray(second.mT), np.asarray(last[:, 0])


def main() -> None:
    args = arguments()
    data = load(args.data)
    compilation = Compilation()
    name, _, how = args.method.partition("-")
    step = {"sgld": sgld, "sghmc": sghmc}[name]
    settings = {"step": step, "batch_size": args.batch_size, "tuned": how == "tuned"}

    def fit(seed: int) -> jax.Array:
        x, y = jnp.asarray(data.x_train.T), jnp.asarray(data.y_train)
        return jax.block_until_ready(run(jax.random.key(seed), x, y, steps=args.steps, **settings))

    first, draws = timed(lambda: fit(0))
    fitted()
    compiled = compilation.seconds
    second, _ = timed(lambda: fit(1))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        compile_seconds=compiled,
        second_fit_seconds=second,
        steps=args.steps,
        steps_per_second=args.steps / second,
        loop_steps_per_second=args.steps / second,  # nothing but the loop
        test_accuracy=moons_accuracy(weights(draws), data),
    )


main()
