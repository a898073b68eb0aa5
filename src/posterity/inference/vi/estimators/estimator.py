"""The expected log likelihood by shared draws, local reparameterisation or Flipout, on any net."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from posterity.inference.vi.estimators.uses import Use, uses
from posterity.inference.vi.noise import quick_key
from posterity.target import Batch, Target

Estimator = Literal["shared", "local", "flipout", "local-per-position"]
ESTIMATORS: tuple[Estimator, ...] = ("shared", "local", "flipout", "local-per-position")


class Choice(NamedTuple):
    """The estimator of one weight, and one of its uses, all of which are alike."""

    estimator: Estimator
    use: Use | None = None


class Plan(NamedTuple):
    """Which estimator each weight gets, in the order of the net's leaves."""

    paths: tuple[str, ...]
    choices: tuple[Choice, ...]

    @property
    def shared(self) -> bool:
        """Whether all weights take the one shared draw."""
        return all(choice.estimator == "shared" for choice in self.choices)

    def by_path(self) -> dict[str, str]:
        """Path → estimator."""
        return {path: str(choice.estimator) for path, choice in zip(self.paths, self.choices)}


def plan(target: Target, estimator: Estimator) -> Plan:
    """Which estimator each weight of the net gets where `estimator` is asked for.

    A weight gets it where the net does nothing with it but multiply. Beyond that:

    * ``"local"`` needs a weight that meets one position of an example, once; where it meets several
      (a convolution, a sequence), Flipout takes its place, in which a weight has one value.
    * ``"local-per-position"`` draws a product's noise at every position on its own. That is an
      approximation: the noise of an example's positions is then independent, as if each had its own
      weights.
    * ``"flipout"`` can serve a weight that is used repeatedly if all uses are alike.
    * A bias, a weight under a prior with bounded support, and all else take the shared draw.
    """
    count = target.net_leaves
    paths = target.paths[:count]
    if estimator == "shared":
        return Plan(paths, (Choice("shared"),) * count)
    weights = target.template_params()
    x = jax.ShapeDtypeStruct((1, *target.x_shape), target.dtype)
    found = uses(target.net.apply, weights, x)
    choices = [
        _choose(estimator, each) if target.on_real_line(path) else Choice("shared")
        for path, each in zip(paths, found)
    ]
    return Plan(paths, tuple(choices))


def _choose(estimator: Estimator, found: list[Use] | None) -> Choice:
    if not found or len({use.layout for use in found}) > 1:
        return Choice("shared")
    use = found[0]
    once = len(found) == 1 and not math.isinf(use.positions)
    if estimator == "local-per-position" and once:
        return Choice("local-per-position", use)
    if estimator == "local" and once and use.positions == 1:
        return Choice("local", use)
    return Choice("flipout", use)


class Noise(NamedTuple):
    """Noise per example: normal numbers (rows, ...) and signs (rows, ...), for all weights."""

    z: jax.Array
    signs: jax.Array

    def mirrored(self) -> Noise:
        """The antithetic noise; signs flip a deviation that is mirrored itself."""
        return Noise(-self.z, self.signs)


def draw_noise(plan: Plan, key: jax.Array, rows: int, dtype: Any) -> Noise:
    """Noise for every example of a batch, from two calls of the generator."""
    sizes = [_sizes(choice) for choice in plan.choices]
    normals, signs = (sum(size[i] for size in sizes) for i in (0, 1))
    key_z, key_signs = (quick_key(jax.random.fold_in(key, number)) for number in (1, 2))
    z = jax.random.normal(key_z, (rows, normals), dtype)
    bits = jax.random.bits(key_signs, (rows, -(-signs // 32)), jnp.uint32)
    each = (bits[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    flat = each.reshape(rows, -1)[:, :signs]
    return Noise(z, 1 - 2 * flat.astype(dtype))


def _sizes(choice: Choice) -> tuple[int, int]:
    if choice.use is None:
        return 0, 0
    if choice.estimator == "flipout":
        return 0, math.prod(choice.use.signs_in) + math.prod(choice.use.signs_out)
    return math.prod(choice.use.out), 0


def expected_log_likelihood(
    target: Target,
    plan: Plan,
    moments: tuple[jax.Array, jax.Array],
    theta: jax.Array,
    noise: Noise | None,
    batch: Batch,
) -> jax.Array:
    """(N / B) Σ log p(yᵢ | xᵢ, θᵢ) where example i sees θᵢ, made of a shared draw and its noise.

    Args:
        target: the target. plan: which estimator each weight gets.
        moments: mean and sd of q, (D,) each. theta: the draw that is shared, (D,).
        noise: per example; None where the plan is all shared. batch: B rows.
    """
    if noise is None or plan.shared:
        return target.scaled_log_likelihood(theta, batch)
    import quax

    from posterity.inference.vi.estimators.random_array import Random

    weights, unknowns = target.split(theta)
    leaves, structure = jax.tree.flatten(weights)
    pieces = [(p.start, p.stop, p.shape) for p in target.parameters]
    mean, sd = moments
    deviation = theta - mean

    # One example at a time, mapped: so the axis of the examples is known, whatever the net does.
    def one(x: jax.Array, noise: Noise) -> jax.Array:
        mixed, at = list(leaves), [0, 0]
        for number, choice in enumerate(plan.choices):
            if choice.use is None:
                continue
            start, stop, shape = pieces[number]
            own, width, off = (
                vector[start:stop].reshape(shape).astype(leaves[number].dtype)
                for vector in (mean, sd, deviation)
            )
            mixed[number] = Random(own, width, off, _noise_of(choice, choice.use, noise, at))
        return quax.quaxify(target.net.apply)(jax.tree.unflatten(structure, mixed), x[None])[0]

    out = target.lowered(lambda x, noise: jax.vmap(one)(x, noise))(batch.x, noise)
    out = target.shaped(out.astype(theta.dtype))
    return target.scaled(target.likelihood.log_prob(out, batch.y, unknowns))


def _noise_of(choice: Choice, use: Use, noise: Noise, at: list[int]) -> Any:
    """This weight's part of an example's noise; `at` counts what has been used of it."""
    from posterity.inference.vi.estimators.random_array import Flipout, Local

    def take(flat: jax.Array, which: int, shape: tuple[int, ...]) -> jax.Array:
        start = at[which]
        at[which] += math.prod(shape)
        return flat[start : at[which]].reshape(shape)

    if choice.estimator == "flipout":
        return Flipout(take(noise.signs, 1, use.signs_in), take(noise.signs, 1, use.signs_out))
    return Local(take(noise.z, 0, use.out))
