"""How the latents of a prior lie in θ, and whether they make the weights that a net needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.layout import PRIOR, UNKNOWN, Block, GivenBlock, Parameter, lay_out
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.priors.prior import AbstractPrior, Latent, Shapes


class Support(eqx.Module):
    """What stands for the distribution of a latent that depends on others: where it lies."""

    support: Any
    batch_shape: tuple[int, ...] = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def shape(self) -> tuple[int, ...]:
        """That of a draw."""
        return self.batch_shape + self.event_shape


def lay_out_prior(
    prior: AbstractPrior, likelihood: AbstractLikelihood, shapes: Shapes
) -> tuple[tuple[Parameter, ...], tuple[Any, ...], int, int]:
    """Where latents and unknowns lie in θ, and the blocks that θ falls into.

    Args:
        prior: of weights of `shapes`. likelihood: its unknowns come last.

    Returns:
        Parameters and blocks; how many parameters are latents, and how many of these, from the
        first, are weights or elements of which weights are made.

    Raises:
        ValueError: a latent is neither a weight nor begins with ``prior.``.
    """
    stated = prior.latents(shapes)
    _refuse_other_names(prior, stated, shapes)
    known = _distributions(stated, shapes)
    extents = {path: shapes.get(path, known[path].shape()) for path in known}
    elements = [path for path in known if path in shapes or extents[path] != ()]
    order = elements + [path for path in known if path not in set(elements)]
    unknowns = {UNKNOWN + name: given for name, given in likelihood.unknowns().items()}
    for path in sorted(unknowns, key=prior.covers, reverse=True):
        known[path], extents[path] = unknowns[path], unknowns[path].shape()
        order.append(path)
    parameters, plain = lay_out({path: extents[path] for path in order}, known)
    blocks = _given(prior, stated, shapes, parameters, plain)
    return parameters, prior.join(parameters, blocks), len(stated), len(elements)


def check_weights(prior: AbstractPrior, latents: tuple[Parameter, ...], shapes: Shapes) -> None:
    """Refuse a prior that does not make every weight of the net.

    Raises:
        ValueError: a weight is missing, or has another shape than in the net.
    """
    columns = None
    if prior.columns:
        columns = jax.ShapeDtypeStruct((len(prior.columns),), float_dtype())
    made = jax.eval_shape(
        lambda z, columns: dict(prior.weights(z, columns)), _like(latents), columns
    )
    for path, shape in shapes.items():
        if path not in made or made[path].shape != shape:
            found = f"of shape {made[path].shape}" if path in made else "missing"
            raise ValueError(
                f"prior: {type(prior).__name__}.weights gives a weight {path!r} that is {found}; "
                f"the net needs it of shape {shape}."
            )


def derived_names(
    prior: AbstractPrior, parameters: tuple[Parameter, ...], count: int
) -> tuple[str, ...]:
    """The names of what the prior derives from its latents, the first `count` parameters.

    Raises:
        ValueError: a name does not begin with ``prior.``, or is that of a parameter.
    """
    names = tuple(jax.eval_shape(lambda z: dict(prior.derived(z)), _like(parameters[:count])))
    taken = {parameter.path for parameter in parameters}
    for name in names:
        if not name.startswith(PRIOR) or name in taken:
            raise ValueError(
                f"prior: {type(prior).__name__}.derived names {name!r}; it must begin with "
                f"{PRIOR!r} and not be a latent's name."
            )
    return names


def _like(latents: tuple[Parameter, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    return {p.path: jax.ShapeDtypeStruct(p.shape, float_dtype()) for p in latents}


def _refuse_other_names(prior: AbstractPrior, stated: Mapping[str, Latent], shapes: Shapes) -> None:
    for path in stated:
        if path not in shapes and not path.startswith(PRIOR):
            raise ValueError(
                f"prior: {type(prior).__name__}.latents names {path!r}, which is no weight of the "
                f"net; other names begin with {PRIOR!r}, as {PRIOR + path!r}. The weights are "
                f"{', '.join(shapes)}."
            )
    if not stated:
        raise ValueError(f"prior: {type(prior).__name__}.latents is empty.")


def _distributions(stated: Mapping[str, Latent], shapes: Shapes) -> dict[str, Any]:
    """Every latent's distribution, or where it lies if that depends on others."""
    found: dict[str, Any] = {}
    likes: dict[str, Any] = {}
    for path, given in stated.items():
        found[path] = given
        if not isinstance(given, dist.Distribution):
            prior = eqx.filter_eval_shape(given, dict(likes))
            shape = shapes.get(path, prior.shape())
            batch = shape[: len(shape) - len(prior.event_shape)]
            found[path] = Support(prior.support, batch, prior.event_shape)
        if path.startswith(PRIOR):
            likes[path] = jax.ShapeDtypeStruct(found[path].shape(), float_dtype())
    return found


def _given(
    prior: AbstractPrior,
    stated: Mapping[str, Latent],
    shapes: Shapes,
    parameters: tuple[Parameter, ...],
    plain: tuple[Block, ...],
) -> tuple[Any, ...]:
    """The blocks, those of latents that depend on others with what they depend on."""
    at = {parameter.start: parameter.path for parameter in parameters}
    lying = {at[block.start]: block for block in plain}
    blocks: dict[str, Block | GivenBlock] = dict(lying)
    before: list[str] = []
    for path, given in stated.items():
        if not isinstance(given, dist.Distribution):
            unknowns = tuple(blocks[name] for name in before)
            sizes = tuple(shapes.items())
            blocks[path] = GivenBlock(lying[path], prior, unknowns, path, sizes, tuple(before))
        if path.startswith(PRIOR):
            before.append(path)
    return tuple(blocks[at[block.start]] for block in plain)
