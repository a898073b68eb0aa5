"""Models as plain data and back: no code in files, no pickle, no eval.

Only what is named in the tables below is ever built from a file: this library's nets and
likelihoods, a list of elementwise functions, and NumPyro's distributions and transforms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import transforms

from posterity import likelihoods
from posterity.distributions.prior_of_predictions import Remembered
from posterity.distributions.prior_of_weights import JointPrior
from posterity.layout import Parameter
from posterity.model.model import Model
from posterity.nets.cnn import CNN
from posterity.nets.mlp import MLP
from posterity.nets.net import AbstractNet
from posterity.nets.resnet import ResNet
from posterity.nets.rnn import Recurrent
from posterity.priors.prior import AbstractPrior, Prior
from posterity.priors.scale_mixture import ScaleMixtureDistribution

Json = Any

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "leaky_relu": jax.nn.leaky_relu,
    "jax_tanh": jax.nn.tanh,
}
# Nets whose constructors take what their fields hold; the MLP has a form of its own.
NETS: dict[str, type[AbstractNet]] = {net.__name__: net for net in (CNN, ResNet, Recurrent)}
TRANSFORMS = {
    "AffineTransform": ("loc", "scale"),
    "PowerTransform": ("exponent",),
    "ExpTransform": (),
    "SigmoidTransform": (),
    "SoftplusTransform": (),
}
# Truncated distributions wrap a base; a normal in several dimensions has one parameter too many.
TRUNCATED = {
    "LeftTruncatedDistribution": ("low",),
    "RightTruncatedDistribution": ("high",),
    "TwoSidedTruncatedDistribution": ("low", "high"),
}
PARAMETERS = {"MultivariateNormal": ("loc", "scale_tril")}


class CannotEncodeError(TypeError):
    """A part of a model that plain data cannot describe; loading then needs the model."""


def encode_model(model_net: AbstractNet, prior: AbstractPrior, likelihood: Any) -> Json:
    """A model as plain data.

    Raises:
        CannotEncodeError: a net, activation, distribution or likelihood that is not this library's
            or NumPyro's.
    """
    base, remembered = prior, None
    if isinstance(prior, Remembered):
        base, kept = prior.base, ("rows", "kind", "base_weight")
        remembered = {name: getattr(prior, name) for name in kept}
    return {
        "net": _encode_net(model_net),
        "prior": _encode_rules(base.form),
        "joint": _encode_joint(base) if isinstance(base, JointPrior) else None,
        "remembered": remembered,
        "likelihood": _encode_likelihood(likelihood),
    }


def decode_model(
    data: Json, density: Any = None, remembered: Mapping[str, Any] | None = None
) -> Model:
    """The inverse of `encode_model`.

    Args:
        data: plain data. density: of a joint prior. remembered: the arrays of a prior that
            remembers; neither is plain data.

    Raises:
        ValueError, KeyError, TypeError: the data describe no model.
    """
    rules = tuple((str(pattern), decode_distribution(rule)) for pattern, rule in data["prior"])
    prior: AbstractPrior = Prior(rules)
    if data.get("joint"):
        prior = _decode_joint(prior, data["joint"], density)
    if data.get("remembered"):
        rows, kind = float(data["remembered"]["rows"]), str(data["remembered"]["kind"])
        weight = float(data["remembered"].get("base_weight", 1.0))
        known = {"rows": rows, "kind": kind, "base_weight": weight, **(remembered or {})}
        prior = Remembered(base=prior, **known)
    return Model(_decode_net(data["net"]), prior, _decode_likelihood(data["likelihood"]))


def _encode_rules(prior: AbstractPrior) -> Json:
    if not isinstance(prior, Prior):
        raise CannotEncodeError(f"the prior {type(prior).__name__} is not this library's")
    for _, rule in prior.rules:
        if not isinstance(rule, dist.Distribution):
            raise CannotEncodeError(f"the prior {type(rule).__name__} is not this library's")
    return [[pattern, encode_distribution(rule)] for pattern, rule in prior.rules]


def _encode_joint(prior: JointPrior) -> Json:
    unknowns = {path: encode_distribution(given) for path, given in prior.unknowns.items()}
    return {"parameters": [list(parameter) for parameter in prior.parameters], "unknowns": unknowns}


def _decode_joint(base: AbstractPrior, data: Json, density: Any) -> JointPrior:
    parameters = tuple(
        Parameter(str(path), tuple(map(int, shape)), int(start), int(stop))
        for path, shape, start, stop in data["parameters"]
    )
    unknowns = {str(path): decode_distribution(given) for path, given in data["unknowns"].items()}
    return JointPrior(base, density, parameters, unknowns)


def _encode_net(net: AbstractNet) -> Json:
    if isinstance(net, MLP):
        return {
            "type": "MLP",
            "sizes": list(net.sizes),
            "activation": _encode_activation(net.activation),
            "use_bias": net.use_bias,
        }
    name = type(net).__name__
    if NETS.get(name) is not type(net):
        raise CannotEncodeError(f"the net is a {name}")
    args = {field.name: getattr(net, field.name) for field in dataclasses.fields(net)}
    if callable(args.get("activation")):
        args["activation"] = {"function": _encode_activation(args["activation"])}
    return {"type": name, "args": args}


def _encode_activation(activation: Any) -> str:
    for name, function in ACTIVATIONS.items():
        if function is activation:
            return name
    raise CannotEncodeError("the net's activation is the user's own function")


def _decode_net(data: Json) -> AbstractNet:
    if data["type"] == "MLP":
        first, *hidden, last = (int(size) for size in data["sizes"])
        activation = ACTIVATIONS[data["activation"]]
        return MLP(first, hidden, last, activation=activation, use_bias=bool(data["use_bias"]))
    if data["type"] not in NETS:
        raise ValueError(f"unknown net {data['type']!r}")
    args = dict(data["args"])
    if isinstance(args.get("activation"), dict):
        args["activation"] = ACTIVATIONS[args["activation"]["function"]]
    return NETS[data["type"]](**args)


def _encode_likelihood(likelihood: Any) -> Json:
    match likelihood:
        case likelihoods.Bernoulli():
            return {"type": "Bernoulli"}
        case likelihoods.Poisson():
            return {"type": "Poisson"}
        case likelihoods.Categorical():
            return {"type": "Categorical", "classes": likelihood.classes}
        case likelihoods.Normal():
            return {"type": "Normal", "scale": _encode_scale(likelihood.scale)}
        case likelihoods.StudentT():
            scale = _encode_scale(likelihood.scale)
            return {"type": "StudentT", "df": likelihood.df, "scale": scale}
    raise CannotEncodeError(f"the likelihood is a {type(likelihood).__name__}")


def _decode_likelihood(data: Json) -> likelihoods.AbstractLikelihood:
    match data["type"]:
        case "Bernoulli":
            return likelihoods.Bernoulli()
        case "Poisson":
            return likelihoods.Poisson()
        case "Categorical":
            return likelihoods.Categorical(int(data["classes"]))
        case "Normal":
            return likelihoods.Normal(_decode_scale(data["scale"]))
        case "StudentT":
            return likelihoods.StudentT(float(data["df"]), _decode_scale(data["scale"]))
    raise ValueError(f"unknown likelihood {data['type']!r}")


def _encode_scale(scale: Any) -> Json:
    return encode_distribution(scale) if isinstance(scale, dist.Distribution) else scale


def _decode_scale(data: Json) -> Any:
    return decode_distribution(data) if isinstance(data, dict) else data


def encode_distribution(given: dist.Distribution) -> Json:
    """A NumPyro distribution as plain data.

    Raises:
        CannotEncodeError: it is not one that its parameters describe.
    """
    if type(given) is dist.TransformedDistribution:
        return {
            "type": "TransformedDistribution",
            "base": encode_distribution(given.base_dist),
            "transforms": [_encode_transform(part) for part in given.transforms],
        }
    if type(given) is dist.ExpandedDistribution:
        shape = list(given.batch_shape)
        return {"type": "expanded", "base": encode_distribution(given.base_dist), "shape": shape}
    if type(given) is dist.Independent:
        dims = given.reinterpreted_batch_ndims
        return {"type": "event", "base": encode_distribution(given.base_dist), "dims": dims}
    name = type(given).__name__
    if name in TRUNCATED:
        args = {arg: _encode_number(getattr(given, arg)) for arg in TRUNCATED[name]}
        return {"type": name, "base": encode_distribution(given.base_dist), "args": args}
    if _distributions(name) is not type(given) or not given.arg_constraints:
        raise CannotEncodeError(f"a distribution is a {name}")
    names = PARAMETERS.get(name, tuple(given.arg_constraints))
    args = {arg: _encode_number(getattr(given, arg)) for arg in names}
    try:
        type(given)(**args_of(args))
    except TypeError as error:  # its parameters are not what its constructor takes
        raise CannotEncodeError(f"a distribution is a {name}") from error
    return {"type": name, "args": args}


def decode_distribution(data: Json) -> dist.Distribution:
    """The inverse of `encode_distribution`.

    Raises:
        ValueError: the data name no NumPyro distribution.
    """
    kind = str(data["type"])
    if kind == "TransformedDistribution":
        parts = [_decode_transform(part) for part in data["transforms"]]
        return dist.TransformedDistribution(decode_distribution(data["base"]), parts)
    if kind == "expanded":
        return decode_distribution(data["base"]).expand(tuple(map(int, data["shape"])))
    if kind == "event":
        return decode_distribution(data["base"]).to_event(int(data["dims"]))
    if kind in TRUNCATED and set(data["args"]) == set(TRUNCATED[kind]):
        return getattr(dist, kind)(decode_distribution(data["base"]), **args_of(data["args"]))
    found: Any = _distributions(kind)
    known = isinstance(found, type) and issubclass(found, dist.Distribution)
    if not known:
        raise ValueError(f"unknown distribution {kind!r}")
    if not set(data["args"]) <= set(found.arg_constraints):
        raise ValueError(f"{kind} has no parameters {sorted(data['args'])}")
    return found(**args_of(data["args"]))


def _distributions(name: str) -> Any:
    """The distribution of that name, NumPyro's or this library's own, or None."""
    own = {"ScaleMixtureDistribution": ScaleMixtureDistribution}
    return own.get(name) or getattr(dist, name, None)


def _encode_transform(given: Any) -> Json:
    name = type(given).__name__
    if name not in TRANSFORMS:
        raise CannotEncodeError(f"a transform is a {name}")
    args = {arg: _encode_number(getattr(given, arg)) for arg in TRANSFORMS[name]}
    return {"type": name, "args": args}


def _decode_transform(data: Json) -> Any:
    name = str(data["type"])
    if name not in TRANSFORMS or set(data["args"]) != set(TRANSFORMS[name]):
        raise ValueError(f"unknown transform {name!r}")
    return getattr(transforms, name)(**args_of(data["args"]))


def args_of(data: Json) -> dict[str, Any]:
    """Encoded numbers by name as arguments."""
    return {str(arg): _decode_number(value) for arg, value in data.items()}


def _encode_number(value: Any) -> Json:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        array = np.asarray(value)
        return {"array": array.astype(np.float64).ravel().tolist(), "shape": list(array.shape)}
    raise CannotEncodeError(f"a parameter is a {type(value).__name__}")


def _decode_number(value: Json) -> Any:
    if isinstance(value, dict) and "float" in value:
        return float(value["float"])
    if isinstance(value, dict):
        array = np.array(value["array"], np.float64).reshape([int(n) for n in value["shape"]])
        return jnp.asarray(array)
    if isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"a parameter is a {type(value).__name__}")
