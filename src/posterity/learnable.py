"""Empirical Bayes: numbers that are optimised with the ELBO instead of being sampled."""

from __future__ import annotations

import math
import uuid
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.distribution import validation_enabled

from posterity.checks import Settings
from posterity.dtypes import float_dtype


class Learned(eqx.Module):
    """A number to be learned, standing where a number stands. Made by `learned`.

    Attributes:
        value: where it starts.
        token: who it is; the same object in two places is one number. Random, so that a copy or an
            unpickled model keeps it, and numbers of two processes never share one. A `Target`
            counts its numbers instead.
    """

    value: float
    token: str | int = eqx.field(static=True)

    # NumPyro's constructors look at the shapes of what they are given.
    shape = ()
    ndim = 0
    size = 1

    @property
    def dtype(self) -> Any:
        """That of θ."""
        return np.dtype(float_dtype())

    def __jax_array__(self) -> jax.Array:
        raise TypeError(
            "learned: the number would be computed with here, and so be fixed at its start. Put it "
            "directly into a distribution's argument, with the other arguments plain numbers."
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value, dtype or self.dtype)

    def __repr__(self) -> str:
        return f"learned({self.value})"


def learned(start: float) -> Any:
    """A number that is optimised with the ELBO (empirical Bayes).

        maximise over η   ELBO(φ, η) = E_q log p(y | x, θ; η) − KL(q(θ; φ) ‖ p(θ; η))

    Args:
        start: where the optimisation starts; inside the support of the parameter it stands for.

    It stands for a number in any prior or likelihood: ``Normal(0, po.learned(1.0))``. The
    constraint (positive, in the unit interval, …) is the distribution's own. The same object in
    several places is one number. Variational methods learn it; the posterior then holds the
    learned value, which `posterior.learned` lists. Other methods refuse it: give it a distribution.

    Raises:
        ValueError: `start` is not a finite number.

    >>> import posterity as po
    >>> prior = po.priors.Normal(0, po.learned(1.0))
    """
    wrong = Settings("learned")
    wrong.finite(start=start)
    wrong.refuse()
    return Learned(float(start), uuid.uuid4().hex)


def is_learned(given: Any) -> bool:
    """Whether `given` is a number to be learned."""
    return isinstance(given, Learned)


class Slot(eqx.Module):
    """One number to be learned: its name, where it starts, and where it may be.

    Attributes:
        name: a path such as ``prior.*.scale``. token: whose slot it is.
        start: where it starts, unconstrained. constraint: NumPyro's.
    """

    name: str = eqx.field(static=True)
    token: str | int = eqx.field(static=True)
    start: float = eqx.field(static=True)
    constraint: Any = eqx.field(static=True)

    def constrain(self, free: jax.Array) -> jax.Array:
        """The number that an unconstrained one stands for."""
        return dist.biject_to(self.constraint)(free)


def slots(given: Any, name: str) -> list[Slot]:
    """The numbers to be learned in a distribution, in the order of its parameters.

    Raises:
        ValueError: a start outside its support, or a place where nothing can be learned.
    """
    if not isinstance(given, dist.Distribution):
        return []
    if not any(map(is_learned, jax.tree.leaves(given, is_leaf=is_learned))):
        return []
    found: list[Slot] = []
    base = getattr(given, "base_dist", None)
    if _rebuilds_by_base(given):
        return slots(base, name)
    for arg, constraint in given.arg_constraints.items():
        number: Any = getattr(given, arg, None)
        if is_learned(number):
            found.append(slot(number, constraint, f"{name}.{arg}"))
    if not found:
        raise ValueError(
            f"learned: nothing can be learned inside {type(given).__name__} of {name}; put the "
            "learned number into a plain distribution."
        )
    return found


def slot(number: Learned, constraint: Any, name: str) -> Slot:
    """The slot of one number under one constraint."""
    value = np.asarray(number.value)
    if not bool(constraint(value)):
        raise ValueError(f"learned: {name} cannot start at {number.value}, outside {constraint}.")
    start = jnp.asarray(np.asarray(value, float_dtype()))  # converted by NumPy: nothing is compiled
    free = float(np.asarray(dist.biject_to(constraint).inv(start)))
    if not math.isfinite(free):
        raise ValueError(
            f"learned: {name} cannot start at {number.value}, on the edge of {constraint}."
        )
    return Slot(name, number.token, free, constraint)


def fill(given: Any, values: dict[Any, Any]) -> Any:
    """A distribution (or number) with every number to be learned replaced by its value.

    Args:
        given: a distribution, a `Learned`, or anything else, which comes back as it is.
        values: token → value.
    """
    if is_learned(given):
        return values[given.token]
    if not isinstance(given, dist.Distribution):
        return given
    if not any(map(is_learned, jax.tree.leaves(given, is_leaf=is_learned))):
        return given
    if isinstance(given, dist.ExpandedDistribution):
        return fill(given.base_dist, values).expand(given.batch_shape)
    if isinstance(given, dist.Independent):
        return fill(given.base_dist, values).to_event(given.reinterpreted_batch_ndims)
    if type(given) is dist.TransformedDistribution:
        return dist.TransformedDistribution(fill(given.base_dist, values), given.transforms)
    args = {arg: fill(getattr(given, arg), values) for arg in given.arg_constraints}
    with validation_enabled(is_validate=False):  # they are what a constraint gave
        return type(given)(**args)


def _rebuilds_by_base(given: dist.Distribution) -> bool:
    return type(given) is dist.TransformedDistribution or isinstance(
        given, (dist.ExpandedDistribution, dist.Independent)
    )
