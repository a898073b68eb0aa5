"""The expected log likelihood by shared draws, local reparameterisation or Flipout, on any net."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from posterity.cpu.once import normals, run_once, words
from posterity.methods.vi.estimators.uses import Use, uses
from posterity.model.net_target import Batch, Target

Estimator = Literal["shared", "local", "flipout", "local-per-position"]
ESTIMATORS: tuple[Estimator, ...] = ("shared", "local", "flipout", "local-per-position")


class Choice(NamedTuple):
    """The estimator of one weight, and one of its uses, all of which are alike."""

    estimator: Estimator
    use: Use | None = None


class Plan(NamedTuple):
    """Which estimator each latent of the prior gets, and so each weight.

    Attributes:
        paths: the latents, in the order of θ. choices: theirs.
        weights: every weight of the net with the latents that it is made of, by number.
    """

    paths: tuple[str, ...]
    choices: tuple[Choice, ...]
    weights: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def shared(self) -> bool:
        """Whether all weights take the one shared draw."""
        return all(choice.estimator == "shared" for choice in self.choices)

    @property
    def batched(self) -> bool:
        """Whether the net can run on the whole batch, as every product has an example axis."""
        used = [choice.use for choice in self.choices if choice.use is not None]
        return all(None not in (use.example_in, use.example_out) for use in used)

    def by_path(self) -> dict[str, str]:
        """Path of a weight → estimator: that of the one latent with noise per example."""
        found = {}
        for path, latents in self.weights:
            kinds = {str(self.choices[number].estimator) for number in latents}
            found[path] = next(iter(kinds - {"shared"}), "shared")
        return found


def plan(target: Target, estimator: Estimator) -> Plan:
    """Which estimator each weight of the net gets where `estimator` is asked for.

    A weight gets it where the net does nothing with it but multiply. Where the prior makes weights
    of latents, a weight that is affine in one normal latent gets it, given the other latents, which
    take the one shared draw. Beyond that:

    * ``"local"`` needs a weight that meets one position of an example, once; where it meets several
      (a convolution, a sequence), Flipout takes its place, in which a weight has one value.
    * ``"local-per-position"`` draws a product's noise at every position on its own. That is an
      approximation: the noise of an example's positions is then independent, as if each had its own
      weights.
    * ``"flipout"`` can serve a weight that is used repeatedly if all uses are alike.
    * A bias, a weight under a prior with bounded support, a latent of which several weights are
      made, one that depends on the row by columns of x, and all else take the shared draw.
    """
    if not target.predicts:
        return Plan((), (), ())
    latents = target.parameters[: target.latent_count]
    paths, made_of = tuple(p.path for p in latents), _made_of(target)
    if estimator == "shared":
        return Plan(paths, (Choice("shared"),) * len(paths), made_of)
    like = {p.path: jax.ShapeDtypeStruct(p.shape, target.dtype) for p in latents}
    users = [sum(number in numbers for _, numbers in made_of) for number in range(len(paths))]
    noisy = [p for p, count in zip(paths, users) if count == 1 and target.on_real_line(p)]
    found = uses(
        lambda noisy, x, known: target.evaluate({**known, **noisy}, x),
        {path: like[path] for path in noisy},
        target.inputs,
        {path: like[path] for path in paths if path not in noisy},
    )
    chosen = {path: _choose(estimator, each) for path, each in zip(sorted(noisy), found)}
    return Plan(paths, tuple(chosen.get(path, Choice("shared")) for path in paths), made_of)


def _made_of(target: Target) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Every weight of the net, and the numbers of the latents that it depends on."""
    latents = target.parameters[: target.latent_count]
    number = {p.path: at for at, p in enumerate(latents)}
    if not target.derived and not target.columns:
        return tuple((path, (number[path],)) for path, _ in target.weights)
    like = {p.path: jax.ShapeDtypeStruct(p.shape, target.dtype) for p in latents}
    read = jax.ShapeDtypeStruct((len(target.columns),), target.dtype) if target.columns else None

    def weights(latents: Any, read: Any) -> list[jax.Array]:
        made = target.prior.weights(latents, read)
        return [made[path] for path, _ in target.weights]

    closed = jax.make_jaxpr(weights)(like, read)
    found = []
    for at, (path, _) in enumerate(target.weights):
        wanted = [other == at for other in range(len(target.weights))]
        _, needed = dce_jaxpr(closed.jaxpr, wanted)
        found.append((path, tuple(number[p] for p, used in zip(sorted(number), needed) if used)))
    return tuple(found)


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


def draw_noise(
    plan: Plan, key: jax.Array, rows: int, dtype: Any, once: jax.Array | None = None
) -> Noise:
    """Noise for every example of a batch, from two calls of the generator.

    Where `once` is given, `run_once` computes it. Signs lie example by example, as do the
    outputs of convolutions, with which most of them are multiplied.
    """
    sizes = [_sizes(choice) for choice in plan.choices]
    count, signs = (sum(size[i] for size in sizes) for i in (0, 1))
    key_z, key_signs = (jax.random.fold_in(key, number) for number in (1, 2))
    z = normals(key_z, (rows, count), dtype, once)
    drawn = words(key_signs, (-(-signs // 32), rows), once)

    def from_bits(drawn: jax.Array) -> jax.Array:
        each = (drawn[:, None, :] >> jnp.arange(32, dtype=jnp.uint32)[:, None]) & 1
        return 1 - 2 * each.reshape(-1, rows)[:signs].astype(dtype)

    return Noise(z, run_once(from_bits, once, drawn).T)


def _sizes(choice: Choice) -> tuple[int, int]:
    if choice.use is None:
        return 0, 0
    if choice.estimator == "flipout":
        return 0, _signs_in(choice.use) + math.prod(choice.use.signs_out)
    return math.prod(choice.use.out), 0


def _signs_in(use: Use) -> int:
    """Signs of the other operand: none where it would be one, as the product has its own."""
    count = math.prod(use.signs_in)
    return 0 if count == 1 else count


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

    from posterity.methods.vi.estimators.random_array import Random

    latents, unknowns = target.latents(theta)
    parameters = target.parameters
    sizes = [parameter.stop - parameter.start for parameter in parameters]
    by_latent = list(zip(*(jax.lax.split(part, sizes) for part in moments)))

    def run(x: Any, noise: Noise, examples: bool) -> jax.Array:
        mixed: dict[str, Any] = dict(latents)
        at = [0, 0]
        for parameter, choice, each in zip(parameters, plan.choices, by_latent):
            if choice.use is None:
                continue
            drawn = latents[parameter.path]
            mean, sd = (part.reshape(parameter.shape) for part in each)
            part = _noise_of(choice, choice.use, noise, at, examples)
            mixed[parameter.path] = Random(mean, sd, drawn - mean, part)
        return quax.quaxify(target.evaluate)(mixed, x)

    def one(x: Any, noise: Noise) -> jax.Array:
        return run(jax.tree.map(lambda a: a[None], x), noise, False)[0]

    def whole(x: Any, noise: Noise) -> jax.Array:
        # Where an axis is not known (a reshape has merged it with another), one example at a time.
        return run(x, noise, True) if plan.batched else jax.vmap(one)(x, noise)

    out = target.lowered(whole)(batch.x, noise)
    out = target.shaped(out.astype(theta.dtype))
    return target.scaled(batch.masked(target.likelihood.log_prob(out, batch.y, unknowns)), batch)


def _noise_of(choice: Choice, use: Use, noise: Noise, at: list[int], examples: bool) -> Any:
    """This weight's part of the noise; `at` counts what has been used of it.

    `examples` says whether the noise has a first axis for them, which goes where the net has it.
    """
    from posterity.methods.vi.estimators.random_array import Flipout, Local

    def take(flat: jax.Array, which: int, shape: tuple[int, ...], axis: int | None) -> jax.Array:
        start = at[which]
        at[which] += math.prod(shape)
        part = flat[..., start : at[which]]
        if not examples or axis is None:
            return part.reshape(shape)
        rest = shape[:axis] + shape[axis + 1 :]
        return jnp.moveaxis(part.reshape(part.shape[0], *rest), 0, axis)

    if choice.estimator == "flipout":
        s = take(noise.signs, 1, use.signs_in, use.example_in) if _signs_in(use) else None
        return Flipout(s, take(noise.signs, 1, use.signs_out, use.example_out))
    return Local(take(noise.z, 0, use.out, use.example_out))
