"""Posteriors in files: one safetensors file with a JSON description and a checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from posterity.diagnostics import Result
from posterity.dtypes import float_dtype
from posterity.files import write_atomic
from posterity.model import Model
from posterity.posterior.distributions import (
    AbstractDistribution,
    Draws,
    FullRank,
    Gaussian,
    LowRank,
)
from posterity.posterior.encode import CannotEncodeError, decode_model, encode_model
from posterity.posterior.flows import Flow, FlowShape
from posterity.posterior.history import History
from posterity.posterior.posterior import Posterior
from posterity.target import Target

FORMAT = 1
SUFFIX = ".safetensors"
HISTORY = "history."
DISTRIBUTIONS: dict[str, type] = {
    kind.__name__: kind for kind in (Gaussian, FullRank, LowRank, Flow, Draws)
}
# The arrays of each, as their axes: D is the number of parameters, None any length.
FIELDS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "Gaussian": {"mean": ("D",), "sd": ("D",)},
    "FullRank": {"mean": ("D",), "chol": ("D", "D")},
    "LowRank": {"mean": ("D",), "sd": ("D",), "factor": ("D", None)},
    "Flow": {"mean": ("D",), "sd": ("D",), "weights": (None,)},
    "Draws": {"theta": (None, None, "D")},
}


class PosteriorFileError(ValueError):
    """A file that is no posterior, or not a whole one, or of another model."""


def save(posterior: Posterior, path: Path) -> Path:
    """Write a posterior to one file; see `Posterior.save`."""
    kind = type(posterior.distribution).__name__
    tensors = {
        field: np.ascontiguousarray(getattr(posterior.distribution, field))
        for field in FIELDS[kind]
    }
    for name, values in posterior.history.fields.items():
        tensors[HISTORY + name] = np.ascontiguousarray(values)
    target = posterior.target
    description = {
        "format": FORMAT,
        "distribution": kind,
        "flow": _describe_flow(posterior.distribution),
        "model": _describe(target),
        "parameters": [[p.path, list(p.shape)] for p in target.parameters],
        "x_shape": list(target.x_shape),
        "y_shape": list(target.y_shape),
        "rows": target.rows,
        "settings": posterior.settings,
        "result": posterior.result.to_json(),
    }
    text = json.dumps(description, sort_keys=True, allow_nan=False, default=str)
    metadata = {"posterity": text, "sha256": _digest(text, tensors)}
    return write_atomic(_with_suffix(path), safetensors.numpy.save(tensors, metadata))


def load(path: str | Path, *, model: Model | None = None) -> Posterior:
    """Read a posterior that `Posterior.save` wrote.

    Nothing in the file is executed: it holds arrays, and a description from which only this
    library's nets and likelihoods and NumPyro's distributions are built.

    Args:
        path: the file; the suffix ``.safetensors`` may be left out.
        model: the model that was fitted. Needed where the file cannot describe it: a net,
            activation or distribution of your own. Where given, its parameters must be the file's.

    Returns:
        The posterior, exactly as it was saved.

    Raises:
        FileNotFoundError: there is no such file.
        PosteriorFileError: the file is truncated, altered, foreign, or of another model; the
            message says which.

    >>> import numpy as np, posterity as po, tempfile, os
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.MAP(steps=10), progress=False)
    >>> path = posterior.save(os.path.join(tempfile.mkdtemp(), "line"))
    >>> po.load(path).predict(x).mean.shape
    (20,)
    """
    path = _with_suffix(Path(path))
    if not path.exists():
        raise FileNotFoundError(f"no posterior at {path}.")
    text, tensors = _read(path)
    try:
        description = json.loads(text)
        if description["format"] != FORMAT:
            raise PosteriorFileError(
                f"{path}: written in format {description['format']}, this version reads {FORMAT}."
            )
        return _rebuild(path, description, tensors, model)
    except PosteriorFileError:
        raise
    except Exception as error:
        raise PosteriorFileError(
            f"{path}: its description makes no sense ({type(error).__name__}: {error})."
        ) from error


def _describe(target: Target) -> Any:
    """The model as plain data, or the reason why it cannot be."""
    try:
        return encode_model(target.net, target.prior, target.likelihood)
    except CannotEncodeError as reason:
        return {"needs_model": str(reason)}


def _describe_flow(distribution: AbstractDistribution) -> dict[str, int] | None:
    """What a flow's bijection is rebuilt from, beside its weights."""
    if not isinstance(distribution, Flow):
        return None
    return {"layers": distribution.shape.layers, "width": distribution.shape.width}


def _read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The description and the arrays of a file whose checksum holds."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "posterity" not in metadata or "sha256" not in metadata:
                raise PosteriorFileError(
                    f"{path}: a safetensors file, but not a posterior saved by this library."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except PosteriorFileError:
        raise
    except Exception as error:
        raise PosteriorFileError(
            f"{path}: not a readable safetensors file; it is truncated, altered or something else "
            f"altogether ({error})."
        ) from error
    if _digest(metadata["posterity"], tensors) != metadata["sha256"]:
        raise PosteriorFileError(
            f"{path}: its checksum does not fit its content; the file has been altered or damaged."
        )
    return metadata["posterity"], tensors


def _rebuild(
    path: Path, description: Any, tensors: dict[str, np.ndarray], model: Model | None
) -> Posterior:
    described = description["model"]
    if model is None:
        if "needs_model" in described:
            raise PosteriorFileError(
                f"{path}: {described['needs_model']}, which a file cannot describe. Give the model "
                "that was fitted: po.load(path, model=model)."
            )
        model = decode_model(described)
    target = Target.build(
        model,
        tuple(description["x_shape"]),
        tuple(description["y_shape"]),
        int(description["rows"]),
    )
    saved = {path: tuple(shape) for path, shape in description["parameters"]}
    for parameter in target.parameters:
        if saved.pop(parameter.path, None) != parameter.shape:
            raise PosteriorFileError(
                f"{path}: the model's parameter {parameter.path!r} of shape {parameter.shape} is "
                "not in the file; it holds another model's posterior."
            )
    if saved:
        raise PosteriorFileError(f"{path}: the model has no parameter {next(iter(saved))!r}.")
    history = {
        name.removeprefix(HISTORY): values
        for name, values in tensors.items()
        if name.startswith(HISTORY)
    }
    return Posterior(
        target,
        _distribution(path, description, tensors, target.size),
        History(history),
        description["settings"],
        Result.from_json(description["result"]),
    )


def _distribution(
    path: Path, description: Any, tensors: dict[str, np.ndarray], size: int
) -> AbstractDistribution:
    kind = description["distribution"]
    arrays = []
    for field, axes in FIELDS[kind].items():
        array = tensors[field]
        lengths = [given for given, axis in zip(array.shape, axes) if axis == "D"]
        if array.ndim != len(axes) or set(lengths) - {size}:
            raise PosteriorFileError(
                f"{path}: {field} has shape {array.shape}, but the model has {size} parameters."
            )
        if not np.isfinite(array).all():
            raise PosteriorFileError(f"{path}: {field} holds values that are not finite.")
        arrays.append(jnp.asarray(array, float_dtype()))
    if kind == "Flow":
        shape = FlowShape(size, *(int(description["flow"][name]) for name in ("layers", "width")))
        if shape.start().shape != arrays[2].shape:
            raise PosteriorFileError(
                f"{path}: weights has {arrays[2].size} numbers, but its flow has "
                f"{shape.start().size}."
            )
        mean, sd, weights = arrays
        return Flow(mean, sd, weights, shape)
    return DISTRIBUTIONS[kind](*arrays)


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _with_suffix(path: Path) -> Path:
    return path if path.suffix else path.with_name(path.name + SUFFIX)
