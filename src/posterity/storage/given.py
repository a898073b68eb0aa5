"""The parts of a model that a file does not describe, and whether a given model is the file's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from posterity.storage.encode import (
    Encoder,
    Json,
    difference,
    givens,
    is_own,
    left_to_give,
    names_in,
)

PARTS = ("net", "prior", "likelihood", "program")  # of a target, as a model has them
UPDATED = ("priors.Joint", "priors.Remembered")
PROBE_ROWS = 3
PROBE_DRAWS = 3
MOST_DRAWS = 100  # of a probe that is read
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

    @property
    def foreign(self) -> bool:
        """Whether it names code that is not this library's, which may change under its name."""
        return any(not is_own(name) for name in names_in(self.data))


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
    target: Any, distribution: AbstractDistribution, asked: set[str]
) -> dict[str, Any] | None:
    """Inputs, and what the parts asked answer there at a few draws; None where nothing is asked.

    The inputs are random numbers: a file holds no data.

    Args:
        asked: the names of parts that the description leaves out, or leaves to a user's code.
    """
    if not asked:
        return None
    thetas = distribution.examples(PROBE_DRAWS)
    x = None if "program" in asked else _rows(target)
    y = _targets(target, thetas[0], x) if "likelihood" in asked else None
    found = answers(target, thetas, x, y, asked)
    return {"x": x, "y": y, "draws": PROBE_DRAWS, "answers": found} if found else None


def refuse_foreign(
    target: Any, distribution: AbstractDistribution, kept: Any, *, given: bool = True
) -> None:
    """Refuse a model that answers otherwise than the fitted one did.

    Args:
        kept: what `probe` gave when the file was written. given: whether the model was given, and
            not built from the names in the file alone.

    Raises:
        ValueError: it names the part, and both answers.
    """
    older = "draws" not in kept  # with the answers at one draw
    if not older and kept["draws"] not in range(1, MOST_DRAWS + 1):
        raise ValueError(f"its probe is of {kept['draws']!r:.40} draws.")
    thetas = distribution.examples(1 if older else kept["draws"])
    if older:
        thetas = np.asarray(distribution.example())[None]
    names = set(kept["answers"])
    here = answers(target, thetas, kept["x"], kept.get("y"), names)
    whose = "of the model given" if given else "that its name in the file stands for here"
    remedy = "Give the model" if given else "Import the code"
    for name in sorted(names, key=PARTS.index):  # a net first, whose outputs a likelihood is given
        before = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(kept["answers"][name])]
        now = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(here.get(name))]
        now = [leaf[0] for leaf in now][: len(before)] if older else now
        if said := _differing(now, before):
            raise ValueError(
                f"the {name} {whose} is not the one that was fitted: {said}. {remedy} that was "
                "fitted."
            )


def answers(target: Any, thetas: np.ndarray, x: Any, y: Any, names: set[str]) -> dict[str, Any]:
    """What parts of a model answer at draws θ (n, D), in arrays that begin with the axis of draws.

    The net gives outputs. The prior gives the log prior, and outputs too, as it makes the weights.
    The likelihood gives the mean and variance of y, and its log density at `y`.
    """
    inputs = None if x is None else jax.tree.map(_on_device, x)
    targets = None if y is None else jnp.asarray(y)

    def likelihood(theta: jax.Array) -> tuple[jax.Array, ...]:
        given = target.outputs(theta, inputs)
        mean, var = target.likelihood.mean_and_var(*given)
        if targets is None:
            return mean, var
        return mean, var, target.likelihood.log_prob(given[0], targets, given[1])

    asked: dict[str, Callable[[jax.Array], Any]] = {
        "net": lambda theta: target.outputs(theta, inputs)[0],
        "prior": lambda theta: (target.log_prior(theta), target.outputs(theta, inputs)[0]),
        "likelihood": likelihood,
        "program": lambda theta: (
            target.constrain(theta),
            target.log_prior(theta),
            target.log_likelihood(theta, target.arguments),
        ),
    }
    found = {}
    for name in sorted(names & set(asked)):
        try:
            answer = eqx.filter_jit(asked[name])
            with jax.default_matmul_precision("highest"):  # GPUs' usual one differs from CPUs'
                each = [answer(jnp.asarray(theta, float_dtype())) for theta in thetas]
            found[name] = jax.tree.map(lambda *one: np.stack([*map(np.asarray, one)]), *each)
        except Exception:
            continue  # a part of the user's that cannot answer: a probe must not spoil a save
    return found


def _targets(target: Any, theta: np.ndarray, x: Any) -> np.ndarray | None:
    """Targets that are possible at a draw; None where the likelihood cannot be drawn from."""
    inputs = jax.tree.map(_on_device, x)

    def drawn(theta: jax.Array) -> jax.Array:
        return target.distribution(theta, inputs).sample(jax.random.key(0))

    try:
        found = np.asarray(eqx.filter_jit(drawn)(jnp.asarray(theta, float_dtype())))
    except Exception:
        return None
    return found.astype(target.likelihood.target_dtype)


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


def _differing(now: list[np.ndarray], before: list[np.ndarray]) -> str:
    """Where two lists of answers differ, in words; empty where they do not."""
    if len(now) != len(before):
        return "it cannot be asked at the inputs kept in the file"
    for new, old in zip(now, before):
        scale = np.abs(old).max(initial=0, where=np.isfinite(old)) + 1e-6
        if new.shape == old.shape:
            close = np.isclose(new, old, rtol=0, atol=TOLERANCE * scale, equal_nan=True).ravel()
            at = int(np.argmin(close)) if close.size else 0
            if close.size == 0 or close[at]:
                continue
        else:
            at = 0
        here, there = (
            ", ".join(f"{value:.4g}" for value in values.ravel()[at : at + 3])
            for values in (new, old)
        )
        return f"at a draw kept in the file it gives {here}, and gave {there}"
    return ""
