"""The parts of a model that a file does not describe, and whether a given model is the file's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.dtypes import float_dtype
from posterity.model.arguments import as_arguments
from posterity.model.model import Model
from posterity.model.program import ProgramModel
from posterity.storage.encode import Encoder, Json, difference, givens, left_to_give

PARTS = ("net", "prior", "likelihood", "program")  # of a target, as a model has them
UPDATED = ("priors.Joint", "priors.Remembered")
PROBE_ROWS = 3
PROBE_NUMBERS = 10_000  # of all probe rows; of one row where it has more
TOLERANCE = 1e-3  # relative: what another processor may change in the outputs of a net


class Part(NamedTuple):
    """A part of a model in the description of a target."""

    name: str
    path: str
    data: Json

    @property
    def missing(self) -> bool:
        """Whether it, or something in it, is not in the file."""
        return next(givens(self.data, self.path), None) is not None


def parts_in(target: Json, path: str = "target") -> Iterator[Part]:
    """The parts of a model in a target, or in a target that it wraps."""
    if isinstance(target, list):
        for number, inner in enumerate(target):
            yield from parts_in(inner, f"{path}.{number}")
    if not isinstance(target, dict):
        return
    for name, inner in target.get("parts", {}).items():
        if name in PARTS:
            yield Part(name, f"{path}.{name}", inner)
        else:
            yield from parts_in(inner, f"{path}.{name}")


def supplied(
    target: Json,
    tensors: Mapping[str, Any],
    model: Model | ProgramModel | None,
    data: Any,
    learned: Mapping[str, float],
) -> dict[str, Any]:
    """Path → what is taken from the model and the data given, in the place of a part.

    A part that the file describes is the file's; the model's must be the same.

    Args:
        target, tensors: the description of a target, and the arrays of the file.
        model, data: as given to `po.load`.
        learned: values found for the numbers to be learned.

    Raises:
        ValueError: a part is missing in both, or is another in the model than in the file.
    """
    parts = list(parts_in(target))
    program = any(part.name == "program" for part in parts)
    if model is None:
        for _, given in givens(target, "target"):
            if given.by == "model":
                raise ValueError(_remedy(given.why, program))
        return {}
    if model.predicts == program:
        kinds = ("a net's", "a NumPyro program's")
        raise ValueError(
            f"it holds {kinds[program]} posterior, but the model given is {kinds[not program]}."
        )
    own = _own_parts(model, learned)
    for part in parts:
        # What an update has made of the prior no model of the user's has.
        if part.name in own and part.data.get("$stored") not in UPDATED:
            _refuse_difference(part, tensors, own[part.name])
    found = {part.path: own[part.name] for part in parts if part.missing and part.name in own}
    if program:
        found["target.arguments"] = as_arguments(() if data is None else data)
    return found


def _own_parts(model: Any, learned: Mapping[str, float]) -> dict[str, Any]:
    """The parts of a model, with numbers to be learned at the values found."""
    if not model.predicts:
        return {"program": model.program}
    prior, likelihood = model.prior, model.likelihood
    slots = [*prior.slots(), *likelihood.slots()]
    values: dict[Any, Any] = {
        slot.token: jnp.asarray(learned[slot.name], float_dtype())
        for slot in slots
        if slot.name in learned
    }
    if values and all(slot.token in values for slot in slots):
        prior, likelihood = prior.fill(values), likelihood.fill(values)
    return {"net": model.net, "prior": prior, "likelihood": likelihood}


def _refuse_difference(part: Part, tensors: Mapping[str, Any], own: Any) -> None:
    encoder = Encoder(otherwise=left_to_give)
    described = encoder.encode(own, part.path)
    found = difference(described, encoder.tensors, part.data, tensors, part.path)
    if found is not None:
        path, given, held = found
        raise ValueError(
            f"{path.removeprefix('target.')} is {given} in the model given, but {held} in the "
            "file. Give the model that was fitted" + ("." if part.missing else ", or none at all.")
        )


def _remedy(why: str, program: bool) -> str:
    data = ", data=data" if program else ""
    own = (
        ""
        if program
        else ' To have it in files, put @po.stored("mine.Name") on its class or function and save '
        "again."
    )
    return (
        f"{why.removeprefix('target.')}, which the file does not describe. Give the model that was "
        f"fitted: po.load(path, model=model{data}).{own}"
    )


# -- what a file keeps of a part that it does not describe ----------------------------------------


def probe(
    target: Any, distribution: AbstractDistribution, missing: set[str]
) -> dict[str, Any] | None:
    """Inputs, and what the missing parts answer there at one draw; None where nothing is missing.

    The inputs are random numbers: a file holds no data.
    """
    if not missing:
        return None
    x = None if "program" in missing else _rows(target)
    found = answers(target, distribution, x, missing)
    return {"x": x, "answers": found} if found else None


def refuse_foreign(target: Any, distribution: AbstractDistribution, kept: Any) -> None:
    """Refuse a model that answers otherwise than the fitted one did.

    Raises:
        ValueError: it names the part, and both answers.
    """
    names = set(kept["answers"])
    here = answers(target, distribution, kept["x"], names)
    for name in sorted(names):
        pairs = zip(jax.tree.leaves(here.get(name)), jax.tree.leaves(kept["answers"][name]))
        for now, before in pairs:
            now, before = np.asarray(now, np.float64), np.asarray(before, np.float64)
            scale = np.abs(before).max(initial=0, where=np.isfinite(before)) + 1e-6
            if now.shape != before.shape or not np.allclose(
                now, before, rtol=0, atol=TOLERANCE * scale, equal_nan=True
            ):
                raise ValueError(
                    f"the {name} of the model given is not the one that was fitted: at a draw kept "
                    f"in the file it gives {_first(now)}, and gave {_first(before)}. Give the "
                    "model that was fitted."
                )


def answers(
    target: Any, distribution: AbstractDistribution, x: Any, names: set[str]
) -> dict[str, Any]:
    """What parts of a model answer at one draw: outputs, log prior, mean and variance of y."""
    theta = jnp.asarray(distribution.example(), float_dtype())
    inputs = None if x is None else jax.tree.map(_on_device, x)
    asked = {
        "net": lambda: target.outputs(theta, inputs)[0],
        "prior": lambda: target.log_prior(theta),
        "likelihood": lambda: target.likelihood.mean_and_var(*target.outputs(theta, inputs)),
        "program": lambda: (target.constrain(theta), target.log_prior(theta)),
    }
    found = {}
    for name in sorted(names & set(asked)):
        try:
            found[name] = jax.tree.map(np.asarray, eqx.filter_jit(asked[name])())
        except (TypeError, ValueError, NotImplementedError, AttributeError):
            continue  # a part of the user's that cannot answer: a probe must not spoil a save
    return found


def _rows(target: Any) -> Any:
    """Random rows of inputs that the net takes."""
    shapes = _shapes(target, 1)
    size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    rows = int(np.clip(PROBE_NUMBERS // max(size, 1), 1, PROBE_ROWS))
    rng = np.random.default_rng(0)

    def made(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if np.issubdtype(leaf.dtype, np.integer):  # small ones: a net may index with them
            return rng.integers(0, 2, leaf.shape).astype(leaf.dtype)
        return rng.normal(size=leaf.shape).astype(leaf.dtype)

    return jax.tree.map(made, _shapes(target, rows))


def _shapes(target: Any, rows: int) -> Any:
    """Inputs of so many rows as shapes and dtypes."""
    return target.inputs.shapes(rows)


def _on_device(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, float_dtype() if array.dtype.kind == "f" else array.dtype)


def _first(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values.ravel()[:3])
