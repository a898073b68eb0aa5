"""A model is a net, a prior over its weights and a likelihood for its outputs."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.likelihoods import AbstractLikelihood
from posterity.nets.adapters import as_net
from posterity.nets.net import AbstractNet
from posterity.priors import Prior, as_prior


class Model(eqx.Module):
    """A Bayesian neural network: net × prior × likelihood.

        p(w, s, y | x) = p(w) p(s) ∏ᵢ p(yᵢ | net(w, xᵢ), s)

    with the weights w of the net and the likelihood's own unknowns s.

    Args:
        net: one of `posterity.nets`, an Equinox module of one example, a Flax NNX module, or a pair
            ``(init, apply)`` of functions.
        prior: `po.priors.Normal`, any NumPyro distribution, or a dictionary of path patterns
            ``{"layers.*.bias": ..., "*": ...}``.
        likelihood: one of `posterity.likelihoods`.

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
    prior: Prior
    likelihood: AbstractLikelihood

    def __init__(self, net: Any, prior: Any, likelihood: AbstractLikelihood) -> None:
        if not isinstance(likelihood, AbstractLikelihood):
            raise TypeError(
                f"likelihood: expected one of po.likelihoods, got {type(likelihood).__name__}."
            )
        self.net = as_net(net)
        self.prior = as_prior(prior)
        self.likelihood = likelihood
        self.prior.attach(self.parameters())

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Path → shape of every parameter of the net, in the order of θ."""
        leaves = jax.tree_util.tree_leaves_with_path(self.template())
        if not leaves:
            raise ValueError("net: it has no floating-point parameters, so nothing can be learned.")
        return {path_name(path): leaf.shape for path, leaf in leaves}

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


def path_name(path: Any) -> str:
    """A key path of a pytree as a dotted name: ``layers.0.weight``."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
