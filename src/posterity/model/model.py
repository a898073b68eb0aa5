"""A model is a net, a prior over its weights and a likelihood for its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.copying import Frozen
from posterity.inputs import InputSpec
from posterity.likelihoods.likelihood import AbstractLikelihood, as_likelihood
from posterity.model.indexing import ROWS, trace
from posterity.model.program import ProgramModel
from posterity.nets.adapters import as_net
from posterity.nets.net import AbstractNet
from posterity.priors.prior import AbstractPrior, as_prior


class Model(Frozen):
    """A Bayesian neural network: net × prior × likelihood.

        p(w, s, y | x) = p(w) p(s) ∏ᵢ p(yᵢ | net(w, xᵢ), s)

    with the weights w of the net and the likelihood's own unknowns s.

    Args:
        net: one of `posterity.nets`, an Equinox module of one example, a Flax NNX module, or a pair
            ``(init, apply)`` of functions. Where x is a tuple or a dictionary of arrays, the net
            gets it as one argument: a module of one example gets one row of every array.
        prior: `po.priors.Normal`, any NumPyro distribution, a prior of your own, or a dictionary
            of path patterns ``{"layers.*.bias": ..., "*": ...}``.
        likelihood: one of `posterity.likelihoods.likelihood`.

    Raises:
        TypeError: an argument is none of these.
        ValueError: a prior pattern matches nothing, or a parameter has no prior; the message lists
            the paths there are.

    >>> import posterity as po
    >>> model = po.Model(po.nets.MLP(2, [5], 1), po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    >>> list(model.parameters())
    ['layers.0.bias', 'layers.0.weight', 'layers.1.bias', 'layers.1.weight']
    """

    net: AbstractNet
    prior: AbstractPrior
    likelihood: AbstractLikelihood

    def __init__(self, net: Any, prior: Any, likelihood: AbstractLikelihood) -> None:
        parts = (likelihood, as_likelihood), (net, as_net), (prior, as_prior)
        self.likelihood, self.net, self.prior = _each(parts)
        self.prior.latents(self.parameters())

    @property
    def predicts(self) -> bool:
        """True: it has rows of x, at which it can be asked for predictions."""
        return True

    @staticmethod
    def from_numpyro(program: Callable[..., Any]) -> ProgramModel:
        """A NumPyro program as a model, for every method that does with a density of θ.

            posterior(z) ∝ p(z) p(y | z),   z the latent sites, y the observed sites and factors

        Args:
            program: a function with `numpyro.sample`, `plate`, `deterministic` and `factor` in it.
                Its arguments are the data of `po.fit`: arrays, and plain numbers, which are
                constants. Latent sites are continuous; flat priors (`dist.ImproperUniform`) are
                fine.

        Returns:
            A model for `po.fit(model, data, method)`, with data a tuple of positional arguments or
            a dictionary of keyword arguments. Its posterior has `weights`, `summary`, `replicate`
            and `to_arviz`, with deterministic sites beside the latent ones.

        Raises:
            TypeError: `program` is no function. What is wrong within a program `fit` reports.

        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist, posterity as po
        >>> def eight_schools(sd, effect):
        ...     mu = numpyro.sample("mu", dist.Normal(0, 5))
        ...     tau = numpyro.sample("tau", dist.HalfCauchy(5))
        ...     with numpyro.plate("school", len(sd)):
        ...         z = numpyro.sample("z", dist.Normal(0, 1))
        ...         theta = numpyro.deterministic("theta", mu + tau * z)
        ...         numpyro.sample("effect", dist.Normal(theta, sd), obs=effect)
        >>> sd = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])
        >>> effect = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
        >>> posterior = po.fit(
        ...     po.Model.from_numpyro(eight_schools),
        ...     {"sd": sd, "effect": effect},
        ...     po.NUTS(chains=2, warmup=200, draws=100),
        ...     progress=False,
        ... )
        >>> posterior.weights("theta").shape
        (2, 100, 8)
        >>> posterior.replicate()["effect"].shape
        (200, 8)
        """
        return ProgramModel(program)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Path → shape of every parameter of the net, in the order of θ."""
        return shapes_by_path(self.template())

    def template(self) -> Any:
        """The net's parameters as shapes and dtypes, without computing them."""
        key = jax.eval_shape(lambda: jax.random.key(0))  # its type only: nothing is compiled
        template = jax.eval_shape(self.net.init, key)
        for path, leaf in jax.tree_util.tree_leaves_with_path(template):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(
                    f"net: parameter {path_name(path)!r} has dtype {leaf.dtype}; priors need "
                    "floating-point parameters."
                )
        return template


def _each(parts: Iterable[tuple[Any, Callable[[Any], Any]]]) -> list[Any]:
    """What each function makes of its part; the messages of all that are refused, in one.

    Raises:
        TypeError, ValueError: as the first that is refused.
    """
    made, refused = [], []
    for given, build in parts:
        try:
            made.append(build(given))
        except (TypeError, ValueError) as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise type(refused[0])(" ".join(map(str, refused)))
    return made


def shapes_by_path(template: Any) -> dict[str, tuple[int, ...]]:
    """Path → shape of every parameter of a net, of which `template` has the types."""
    leaves = jax.tree_util.tree_leaves_with_path(template)
    if not leaves:
        raise ValueError("net: it has no floating-point parameters, so nothing can be learned.")
    return {path_name(path): leaf.shape for path, leaf in leaves}


def check_outputs(
    model: Model, template: Any, inputs: InputSpec, y_shape: tuple[int, ...]
) -> tuple[InputSpec, bool]:
    """Refuse a net that cannot take such rows or gives the wrong number of outputs.

    Returns the inputs with the types that the net needs, and whether the net convolves or pools.
    """
    found = trace(model.net, template, inputs)
    _refuse_other_outputs(found.out, model.likelihood, y_shape)
    model.net.check(jax.tree.map(_rows_like, found.inputs.shapes(ROWS)))
    return found.inputs, found.convolves


def _refuse_other_outputs(
    out: Any, likelihood: AbstractLikelihood, y_shape: tuple[int, ...]
) -> None:
    """Refuse outputs that are no array of floats, or of another shape than the likelihood needs.

    Axes of length one say nothing of the order of the others, and are not looked at.
    """
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise ValueError(
            f"net: it returns a {type(out).__name__}, not one array. Join its parts along the last "
            "axis: jnp.concatenate([...], axis=-1)."
        )
    per_target, targets = likelihood.outputs_per_target, math.prod(y_shape)
    needed = per_target * targets
    shapes = [(needed,), (per_target, *y_shape)]
    rows, *row = out.shape or (None,)
    long = lambda shape: [size for size in shape if size != 1]
    if rows != ROWS or long(row) not in map(long, shapes):
        name = type(likelihood).__name__
        wanted = " or ".join(dict.fromkeys(str(("rows", *shape)) for shape in shapes))
        given = ("rows", *row) if rows == ROWS else out.shape
        order = ""
        if per_target > 1 and targets > 1:
            order = f" All {targets} first outputs of the targets come before the second ones."
        raise ValueError(
            f"net: it gives outputs of shape {given} for {ROWS} rows of x, but {name} needs "
            f"{needed} per row ({per_target} for each of {targets} target columns of y), of shape "
            f"{wanted}.{order} Change the net's output size."
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(
            f"net: its outputs are {out.dtype}, and must be floating-point numbers. Leave out what "
            "rounds them, or end with .astype(float)."
        )


def _rows_like(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """Some rows of given shape and type: numbers between −1 and 1, or ones."""
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        return np.ones(shape.shape, shape.dtype)
    return np.cos(np.arange(np.prod(shape.shape))).reshape(shape.shape).astype(shape.dtype)


def path_name(path: Any) -> str:
    """A key path of a pytree as a dotted name: ``layers.0.weight``."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
