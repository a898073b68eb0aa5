"""Moons ADVI in bare JAX: one compiled scan and no library. The limit that ours is held against."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, final_loss, fitted, load, moons_accuracy, report, timed

_imports = Clock()
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 5
SHAPES = ((HIDDEN, 2), (HIDDEN, HIDDEN), (1, HIDDEN))  # (out, in): examples are columns
SIZES = tuple(rows * columns for rows, columns in SHAPES)
DIMENSION = sum(SIZES)
OPTIMISER = optax.adam(0.01)

Params = tuple[jax.Array, jax.Array]  # mean and unconstrained scale of the Gaussian
State = tuple[Params, optax.OptState]
Batch = tuple[jax.Array, jax.Array]
Result = tuple[Params, jax.Array]


def unflatten(weights: jax.Array) -> list[jax.Array]:
    """The layers' matrices in a flat vector (leading axes are kept)."""
    pieces = jnp.split(weights, np.cumsum(SIZES)[:-1], axis=-1)
    return [
        piece.reshape(*weights.shape[:-1], *shape)
        for piece, shape in zip(pieces, SHAPES, strict=True)
    ]


def log_likelihood(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Bernoulli log-likelihood, features first: the long axis (examples) is the last one."""
    first, second, last = unflatten(weights)
    logits = (last @ jnp.tanh(second @ jnp.tanh(first @ x)))[0]
    return jnp.sum(y * logits - jax.nn.softplus(logits))


def loss(params: Params, key: jax.Array, batch: Batch, rescale: float) -> jax.Array:
    """Negative ELBO from one draw, with the divergence from the N(0, 1) prior in closed form."""
    mean, raw = params
    sd = jax.nn.softplus(raw)
    weights = mean + sd * jax.random.normal(key, (DIMENSION,))
    divergence = jnp.sum(0.5 * (sd**2 + mean**2 - 1) - jnp.log(sd))
    return divergence - rescale * log_likelihood(weights, *batch)


def step(state: State, key: jax.Array, batch: Batch, rescale: float) -> tuple[State, jax.Array]:
    """One step of Adam."""
    params, optimiser = state
    value, gradient = jax.value_and_grad(loss)(params, key, batch, rescale)
    updates, optimiser = OPTIMISER.update(gradient, optimiser)
    return (optax.apply_updates(params, updates), optimiser), value


def start(key: jax.Array) -> State:
    """A mean drawn from the prior, and a small standard deviation."""
    params = (jax.random.normal(key, (DIMENSION,)), jnp.full((DIMENSION,), -2.0))
    return params, OPTIMISER.init(params)


@partial(jax.jit, static_argnames="steps")
def fit_full(key: jax.Array, x: jax.Array, y: jax.Array, steps: int) -> Result:
    """Every step sees all rows."""
    state, losses = jax.lax.scan(
        lambda state, key: step(state, key, (x, y), 1.0), start(key), jax.random.split(key, steps)
    )
    return state[0], losses


@partial(jax.jit, static_argnames=("steps", "batch_size"))
def fit_replacement(
    key: jax.Array, x: jax.Array, y: jax.Array, steps: int, batch_size: int
) -> Result:
    """Every step draws its rows anew, with replacement: the cheapest sampling there is."""
    rows = x.shape[1]

    def body(state: State, key: jax.Array) -> tuple[State, jax.Array]:
        for_noise, for_rows = jax.random.split(key)
        chosen = jax.random.randint(for_rows, (batch_size,), 0, rows)
        return step(state, for_noise, (x[:, chosen], y[chosen]), rows / batch_size)

    state, losses = jax.lax.scan(body, start(key), jax.random.split(key, steps))
    return state[0], losses


@partial(jax.jit, static_argnames=("steps", "batch_size"))
def fit_permuted(key: jax.Array, x: jax.Array, y: jax.Array, steps: int, batch_size: int) -> Result:
    """Every epoch visits all rows once, in a fresh order."""
    rows = x.shape[1]
    batches = rows // batch_size
    if rows % batch_size or steps % batches:
        raise ValueError(f"{steps} steps of {batch_size} are no whole epochs of {rows} rows")

    def body(state: State, scanned: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
        key, chosen = scanned
        return step(state, key, (x[:, chosen], y[chosen]), rows / batch_size)

    def epoch(state: State, key: jax.Array) -> tuple[State, jax.Array]:
        for_noise, for_rows = jax.random.split(key)
        order = jax.random.permutation(for_rows, rows).reshape(batches, batch_size)
        return jax.lax.scan(body, state, (jax.random.split(for_noise, batches), order))

    state, losses = jax.lax.scan(epoch, start(key), jax.random.split(key, steps // batches))
    return state[0], losses.reshape(-1)


def draw_weights(params: Params, draws: int) -> tuple[np.ndarray, ...]:
    """Posterior draws, as (draw, in, out) like everybody else's."""
    mean, raw = params
    noise = jax.random.normal(jax.random.key(7), (draws, DIMENSION))
    first, second, last = unflatten(mean + jax.nn.softplus(raw) * noise)
    return np.asarray(first.mT), np.asarray(second.mT), np.asarray(last[:, 0])


def main() -> None:
    args = arguments()
    data = load(args.data)
    program: Callable[..., Result] = fit_full
    settings = {"steps": args.steps}
    if args.batch_size:
        program = fit_permuted if args.sampling == "permuted" else fit_replacement
        settings["batch_size"] = args.batch_size

    def fit(seed: int) -> Result:
        x, y = jnp.asarray(data.x_train.T), jnp.asarray(data.y_train)
        return jax.block_until_ready(program(jax.random.key(seed), x, y, **settings))

    first, (params, losses) = timed(lambda: fit(0))
    fitted()
    second, _ = timed(lambda: fit(1))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=second,
        steps=args.steps,
        steps_per_second=args.steps / second,
        loop_steps_per_second=args.steps / second,  # nothing but the loop
        final_loss=final_loss(np.asarray(losses)),
        test_accuracy=moons_accuracy(draw_weights(params, 1000), data),
    )


main()
