"""Posteriors in files: one safetensors file with a JSON description and a checksum."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from posterity import memory
from posterity.diagnostics.diagnose import Diagnostics
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Result
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.prior_of_predictions import Remembered
from posterity.distributions.prior_of_weights import JointPrior
from posterity.dtypes import float_dtype
from posterity.inputs import InputSpec
from posterity.model.arguments import as_arguments
from posterity.model.model import Model
from posterity.model.net_target import Target
from posterity.model.program import ProgramModel
from posterity.model.program_target import ProgramTarget
from posterity.model.target import AbstractTarget
from posterity.posterior import AnyPosterior, posterior_of
from posterity.storage.encode import CannotEncodeError, decode_model, encode_model
from posterity.storage.pack import pack, unpack
from posterity.storage.tensors import Tensor, digest, mapped, write
from posterity.storage.version_1 import upgraded

FORMAT = 2
SUFFIX = ".safetensors"
HISTORY = "history."
DRAWS = "theta"  # the array of stored draws
PRIOR = "prior."  # what the arrays of a joint prior begin with
REMEMBERED = "remembered."  # what those of a prior that remembers predictions begin with
ARRAYS = {"y": "y", "shares": "shares", "weights": "counts"}  # of the latter: field


class PosteriorFileError(ValueError):
    """A file that is no posterior, or not a whole one, or of another model."""


def save(posterior: Any, path: Path) -> Path:
    """Write a posterior to one file; see `Posterior.save`."""
    kind, tensors = pack(posterior.distribution)
    for name, values in posterior.history.fields.items():
        tensors[HISTORY + name] = np.ascontiguousarray(values)
    target = posterior.target
    prior, base = None, None if isinstance(target, ProgramTarget) else target.prior
    if isinstance(base, Remembered):
        tensors |= {
            REMEMBERED + name: np.asarray(getattr(base, field)) for name, field in ARRAYS.items()
        }
        for name, x in zip(_remembered_names(target.inputs), jax.tree.leaves(base.x)):
            tensors[name] = np.asarray(x)
        base = base.base
    if isinstance(base, JointPrior):
        prior, arrays = pack(base.density, PRIOR)
        tensors |= arrays
    # A program has neither x nor y.
    shapes = {} if isinstance(target, ProgramTarget) else _shapes(target)
    description = {
        "format": FORMAT,
        **kind,
        "prior_density": prior,
        "model": _describe(target),
        "parameters": [[p.path, list(p.shape)] for p in target.parameters],
        "rows": int(target.rows),
        "kl_weight": float(target.kl_weight),
        "temperature": float(target.temperature),
        **shapes,
        "settings": posterior.settings,
        "facts": posterior.facts,
        "result": posterior.result.to_json(),
        "diagnostics": posterior.diagnostics and posterior.diagnostics.to_json(),
    }
    text = json.dumps(description, sort_keys=True, allow_nan=False, default=str)
    metadata = {"posterity": text, "sha256": digest(text, tensors)}
    return write(_with_suffix(path), tensors, metadata)


def load(
    path: str | Path, *, model: Model | ProgramModel | None = None, data: Any = None
) -> AnyPosterior:
    """Read a posterior that `Posterior.save` wrote.

    Nothing in the file is executed: it holds arrays, and a description from which only this
    library's nets and likelihoods and NumPyro's distributions are built.

    Args:
        path: the file; the suffix ``.safetensors`` may be left out.
        model: the model that was fitted. Needed where the file cannot describe it: a net,
            activation or distribution of your own, or a NumPyro program. Where given, its
            parameters must be the file's.
        data: for a program the data that were fitted, as its sites may depend on them; a file
            holds none.

    Returns:
        The posterior, exactly as it was saved. Draws that would take more than half of the memory
        there is stay in the file and are read when they are needed: keep it where it is.

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
        if description["format"] not in (1, FORMAT):
            raise PosteriorFileError(
                f"{path}: written in format {description['format']}, this version reads {FORMAT}."
            )
        if description["format"] == 1:
            description = upgraded(description)
        return _rebuild(path, description, tensors, model, data)
    except PosteriorFileError:
        raise
    except Exception as error:
        raise PosteriorFileError(
            f"{path}: its description makes no sense ({type(error).__name__}: {error})."
        ) from error


def _describe(target: Target) -> Any:
    """The model as plain data, or the reason why it cannot be."""
    if isinstance(target, ProgramTarget):
        return {"needs_model": "the model is a NumPyro program", "program": True}
    try:
        return encode_model(target.net, target.prior, target.likelihood)
    except CannotEncodeError as reason:
        return {"needs_model": str(reason)}


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The description and the arrays of a file whose checksum holds."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "posterity" not in metadata or "sha256" not in metadata:
                raise PosteriorFileError(
                    f"{path}: a safetensors file, but not a posterior saved by this library."
                )
            tensors: dict[str, Tensor] = {
                name: mapped(path, name) if _too_large(file, name) else file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
            }
    except PosteriorFileError:
        raise
    except Exception as error:
        raise PosteriorFileError(
            f"{path}: not a readable safetensors file; it is truncated, altered or something else "
            f"altogether ({error})."
        ) from error
    if digest(metadata["posterity"], tensors) != metadata["sha256"]:
        raise PosteriorFileError(
            f"{path}: its checksum does not fit its content; the file has been altered or damaged."
        )
    return metadata["posterity"], tensors


def _rebuild(
    path: Path,
    description: Any,
    tensors: dict[str, Any],
    model: Model | ProgramModel | None,
    data: Any,
) -> AnyPosterior:
    target = _target(path, description, tensors, model, data)
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
    diagnosed = description.get("diagnostics")
    return posterior_of(
        target,
        _distribution(path, description, tensors, target.size),
        history=History(history),
        settings=description["settings"],
        facts=description["facts"],
        result=Result.from_json(description["result"]),
        diagnostics=Diagnostics.from_json(diagnosed) if diagnosed else None,
    )


def _target(
    path: Path,
    description: Any,
    tensors: dict[str, Any],
    model: Model | ProgramModel | None,
    data: Any,
) -> AbstractTarget:
    described = description["model"]
    program = bool(described.get("program"))
    if model is None:
        if "needs_model" in described:
            raise PosteriorFileError(
                f"{path}: {described['needs_model']}, which a file cannot describe. Give the model "
                f"that was fitted: po.load(path, model=model{', data=data' if program else ''})."
            )
        density = _prior_density(path, description, tensors)
        model = decode_model(described, density, _remembered(path, description, tensors))
    if isinstance(model, ProgramModel) != program:
        kinds = ("a net's", "a NumPyro program's")
        raise PosteriorFileError(
            f"{path}: it holds {kinds[program]} posterior, but the model given is "
            f"{kinds[not program]}."
        )
    kl_weight, temperature = (float(description[name]) for name in ("kl_weight", "temperature"))
    if not 0 < kl_weight < math.inf:
        raise PosteriorFileError(f"{path}: its weight of the KL is {kl_weight}.")
    if not 0 <= temperature < math.inf:  # 0 is that of an optimum
        raise PosteriorFileError(f"{path}: its temperature is {temperature}.")
    weights = kl_weight, temperature
    if not isinstance(model, ProgramModel):
        y_shape, rows = tuple(description["y_shape"]), int(description["rows"])
        return Target.build(model, _inputs(description), y_shape, rows, *weights)
    try:
        arguments = as_arguments(() if data is None else data)
        return ProgramTarget.build(model, arguments, *weights)
    except (TypeError, ValueError) as error:
        raise PosteriorFileError(
            f"{path}: {error} Give the data that were fitted: po.load(path, model=model, "
            "data=data)."
        ) from error


def _prior_density(path: Path, description: Any, tensors: dict[str, Any]) -> Any:
    """The density of a joint prior, or None of any other."""
    if not description.get("prior_density"):
        return None
    size = int(description["model"]["joint"]["parameters"][-1][-1])
    return _distribution(path, description["prior_density"], tensors, size, PRIOR)


def _remembered(path: Path, description: Any, tensors: dict[str, Any]) -> dict[str, Any] | None:
    """The arrays of a prior that remembers predictions, or None of any other."""
    if not description["model"].get("remembered"):
        return None
    y, shares, weights = (tensors[REMEMBERED + name] for name in ARRAYS)
    inputs = _inputs(description)
    x = [tensors[name] for name in _remembered_names(inputs)]
    rows, each = shares.shape
    fits = (
        all(len(part) == rows for part in x)
        and y.shape[:2] == (rows, each)
        and weights.shape == (rows,)
    )
    finite = all(np.isfinite(part).all() for part in (*x, y, shares, weights))
    if not (fits and finite and (shares >= 0).all() and (weights >= 0).all()):
        raise PosteriorFileError(f"{path}: what its prior remembers makes no sense.")
    found = {"y": y, "shares": shares, "counts": weights, "x": inputs.built(x)}
    return jax.tree.map(_number, found)


def _number(array: np.ndarray) -> jax.Array:
    """An array in the library's type of its kind."""
    whole = np.issubdtype(array.dtype, np.integer)
    return jnp.asarray(array, np.int32 if whole else float_dtype())


def _shapes(target: Target) -> dict[str, Any]:
    """What a row is, as plain data; `x_shape` is what earlier versions read."""
    found: dict[str, Any] = {"inputs": target.inputs.to_json(), "y_shape": list(target.y_shape)}
    if target.inputs.shape is not None:
        found["x_shape"] = list(target.inputs.shape)
    return found


def _inputs(description: Any) -> InputSpec:
    """What a row of inputs is; files of earlier versions have the shape of one array."""
    if "inputs" in description:
        return InputSpec.from_json(description["inputs"])
    return InputSpec.of_shape(description["x_shape"])


def _remembered_names(inputs: InputSpec) -> list[str]:
    """What the arrays of remembered inputs are called in a file."""
    if inputs.structure == "array":
        return [REMEMBERED + "x"]
    return [f"{REMEMBERED}x.{leaf.name}" for leaf in inputs.leaves]


def _distribution(
    path: Path, kind: Any, tensors: dict[str, Any], size: int, prefix: str = ""
) -> AbstractDistribution:
    try:
        return unpack(kind, tensors, size, prefix)
    except ValueError as error:
        raise PosteriorFileError(f"{path}: {error}") from error


def _too_large(file: Any, name: str) -> bool:
    """Whether an array is of draws, and so many that they stay in the file."""
    if name != DRAWS:
        return False
    part = file.get_slice(name)
    numbers = int(np.prod(part.get_shape(), dtype=np.int64))
    return not memory.fits(numbers * (8 if part.get_dtype() == "F64" else 4))


def _with_suffix(path: Path) -> Path:
    return path if path.suffix else path.with_name(path.name + SUFFIX)
