"""Posteriors in files: one safetensors file with a JSON description and a checksum."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

# Nets, likelihoods and priors register themselves for files as they are imported.
from posterity import likelihoods, memory, nets, priors  # noqa: F401
from posterity.diagnostics.diagnose import Diagnostics
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Result
from posterity.distributions import flow, mixture, prior_of_predictions, prior_of_weights  # noqa: F401
from posterity.distributions.distribution import AbstractDistribution
from posterity.files import regular
from posterity.model import net_target, program_target  # noqa: F401
from posterity.model.model import Model
from posterity.model.program import ProgramModel
from posterity.model.target import AbstractTarget
from posterity.storage.encode import (
    CannotEncodeError,
    Decoder,
    Encoder,
    Json,
    check_form,
    check_size,
    difference,
    givens,
    is_own,
    left_to_give,
    lists_in,
)
from posterity.storage.given import parts_in, probe, refuse_foreign, supplied
from posterity.storage.tensors import digest, mapped
from posterity.storage.tensors import write as write_tensors
from posterity.storage.version_1 import upgraded

FORMAT = 2
SUFFIX = ".safetensors"
HISTORY = "history."
THETA = "theta"  # the array of stored draws
# Letters of a description: of 4,000 named numbers it takes 1 MB, or 250 for each. Draws of them
# take more than an eighth of it, as there are eight and more.
MOST_TEXT = 2**26
LITTLE_TEXT = 2**22
MOST_SAID = 1_500  # letters of a message
FEW = 100  # entries of a list that no net or prior is refused for
MOST_DRAWS = 10**8  # of which a prediction is made, unless others are asked for
KEYS = (
    "format",
    "target",
    "parameters",
    "distribution",
    "settings",
    "facts",
    "result",
    "diagnostics",
    "probe",
)


CHECKED = ("target", "distribution", "settings", "facts", "probe")


class PosteriorFileError(ValueError):
    """A file that is no posterior, or not a whole one, or of another model."""


class Parts(NamedTuple):
    """What a file holds of a posterior."""

    target: AbstractTarget
    distribution: AbstractDistribution
    history: History
    settings: dict[str, Any]
    facts: dict[str, Any]
    result: Result
    diagnostics: Diagnostics | None


def write(
    path: str | Path,
    target: AbstractTarget,
    distribution: AbstractDistribution,
    history: History,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    result: Result,
    diagnostics: Diagnostics | None,
) -> Path:
    """Write the parts of a posterior to one file, atomically.

    Args:
        path: where; ``.safetensors`` is added where there is no suffix.
        target, distribution: a part of the model that is not `stored` is left out of the file, and
            must be given again when it is read.
        history, settings, facts, result, diagnostics: what the run has to say.

    Returns:
        The path written.

    Raises:
        TypeError: the distribution, or the target itself, is of a class that is not `stored`.
    """
    outer, inner = Encoder(), Encoder(otherwise=left_to_give)
    described = inner.encode(target, "target")
    missing = _missing(described)
    foreign = {part.name for part in parts_in(described) if part.foreign}
    try:
        found = outer.encode(distribution, "distribution")
    except CannotEncodeError as error:
        raise _not_stored(str(error)) from error
    plain = Encoder(otherwise=lambda value, _: str(value))
    description = {
        "format": FORMAT,
        "target": described,
        "parameters": [[p.path, list(p.shape)] for p in target.parameters],
        "distribution": found,
        "settings": plain.encode(dict(settings), "settings"),
        "facts": plain.encode(dict(facts), "facts"),
        "result": result.to_json(),
        "diagnostics": diagnostics and diagnostics.to_json(),
        "probe": plain.encode(probe(target, distribution, missing | foreign), "probe"),
    }
    steps = {HISTORY + name: np.ascontiguousarray(v) for name, v in history.fields.items()}
    tensors: dict[str, np.ndarray] = {}
    for arrays in (inner.tensors, plain.tensors, steps, outer.tensors):
        if shared := set(arrays) & set(tensors):
            raise ValueError(f"save: two arrays are called {shared.pop()!r}.")
        tensors |= arrays
    for name in CHECKED:
        try:  # here, and not when it is read
            check_size(description[name], name)
        except ValueError as error:
            raise ValueError(f"save: {error} Such a file could not be read again.") from error
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    if _too_long(len(text), sum(tensor.nbytes for tensor in tensors.values())):
        raise ValueError(f"save: the description takes {len(text):,} letters, too many to be read.")
    # In one entry: the library writes several in any order, and the same posterior is one file.
    metadata = {"posterity": f"{digest(text, tensors)}\n{text}"}
    return write_tensors(_with_suffix(Path(path)), tensors, metadata)


def read(path: str | Path, *, model: Model | ProgramModel | None = None, data: Any = None) -> Parts:
    """The parts of a posterior that `write` wrote, now or in format 1.

    Nothing in the file is executed: it holds arrays, and a description from which only classes
    that are `stored` and NumPyro's distributions are built.

    Args:
        path: the file; the suffix ``.safetensors`` may be left out.
        model: the model that was fitted, where the file does not describe all of it.
        data: of a program, what it was fitted to.

    Raises:
        FileNotFoundError: there is no such file.
        PosteriorFileError: the file is truncated, altered, foreign, or of another model.
    """
    path = _with_suffix(Path(path))
    if not path.exists():
        raise FileNotFoundError(f"no posterior at {path}.")
    try:
        regular(path)
    except ValueError as error:
        raise PosteriorFileError(str(error)) from error
    text, tensors = _verified(path)
    try:
        description = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        form = description.get("format") if isinstance(description, dict) else None
        older = type(form) is int and form == 1
        if older:
            description, tensors = _upgraded(description, tensors)
        elif type(form) is not int or form != FORMAT:
            raise ValueError(
                f"written in format {str(form)[:20]}; this version reads 1 and "
                f"{FORMAT}. Use the version of posterity that wrote it, or a newer one."
            )
        return _rebuilt(description, tensors, model, data, older=older)
    except ValueError as error:
        said = str(error)
        said = said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} … (and so on)"
        raise PosteriorFileError(f"{path}: {said}") from error
    except Exception as error:
        raise PosteriorFileError(
            f"{path}: its description makes no sense ({type(error).__name__}: {str(error)[:200]})."
        ) from error


def _upgraded(description: Json, tensors: dict[str, np.ndarray]) -> tuple[Json, Any]:
    """A file of format 1 as one of this format."""
    try:
        return upgraded(description, tensors)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f"its description is none of format 1, which it says it is ({error})."
        ) from error


def _missing(target: Json) -> set[str]:
    """The names of the parts of a model that a description of a target leaves out.

    Raises:
        TypeError: something else is left out, which no model could give.
    """
    parts = [part for part in parts_in(target) if part.missing]
    inside = {path for part in parts for path, _ in givens(part.data, part.path)}
    for path, given in givens(target, "target"):
        if path not in inside and given.by == "model":
            raise _not_stored(given.why)
    return {part.name for part in parts}


def _not_stored(what: str) -> TypeError:
    return TypeError(
        f'save: {what}, which is not registered for files. Put @po.stored("mine.Name") on its '
        'class, or call it now, po.stored("mine.Name")(TheClass), and save again.'
    )


def _rebuilt(
    description: Json,
    tensors: Mapping[str, np.ndarray],
    model: Model | ProgramModel | None,
    data: Any,
    *,
    older: bool,
) -> Parts:
    if set(description) != set(KEYS):
        raise ValueError(f"its description has {sorted(description)[:12]}, not {sorted(KEYS)}.")
    for name in CHECKED:
        check_size(description[name], name)
        check_form(description[name], name)
    _check_parameters(description["parameters"])
    _refuse_long(description)
    plain = Decoder(tensors)
    settings, facts = (plain.decode(description[name], name) for name in ("settings", "facts"))
    kept = plain.decode(description["probe"], "probe")
    if not isinstance(settings, dict) or not isinstance(facts, dict):
        raise ValueError("its settings and facts are not names with values.")
    draws = facts.get("predictive_draws", 1)
    whole = isinstance(draws, (int, np.integer)) and not isinstance(draws, bool)
    if not whole or not 1 <= draws <= MOST_DRAWS:
        raise ValueError(f"its predictions are of {draws!r:.40} draws.")
    learned = dict(facts.get("learned") or {})
    given = supplied(description["target"], tensors, model, data, learned)
    inner, outer = Decoder(tensors, given), Decoder(tensors)
    # The distribution comes first: it is checked against the parameters before a net is built.
    distribution = outer.decode(description["distribution"], "distribution")
    target = _target(inner, description, data)
    if outer.narrowed or (inner.narrowed and not older):
        warnings.warn(
            "The posterior was saved in double precision, but this process computes in single: its "
            "numbers are rounded to seven digits. To keep them, run this before anything else of "
            'JAX: jax.config.update("jax_enable_x64", True)',
            stacklevel=4,
        )
    _refuse_others(target, distribution, description["parameters"])
    if not older:
        _refuse_read_otherwise(target, description["target"], tensors)
    if kept is not None:
        if not isinstance(kept, dict) or not isinstance(kept.get("answers"), dict):
            raise ValueError("its probe makes no sense.")
        refuse_foreign(target, distribution, kept, given=model is not None)
    history = {
        name.removeprefix(HISTORY): np.asarray(values)
        for name, values in tensors.items()
        if name.startswith(HISTORY)
    }
    used = inner.used | outer.used | plain.used | {HISTORY + name for name in history}
    if unknown := set(tensors) - used:
        raise ValueError(f"it has an array {min(unknown)[:80]!r} that nothing refers to.")
    return Parts(
        target,
        distribution,
        History(history),
        settings,
        facts,
        _same(Result, description["result"]),
        None
        if description["diagnostics"] is None
        else _same(Diagnostics, description["diagnostics"]),
    )


def _check_parameters(parameters: Json) -> None:
    """Refuse what is no list of pairs, each of a path and a shape."""
    pairs = parameters if isinstance(parameters, list) else [None]
    for pair in pairs:
        parts = pair if isinstance(pair, list) else []
        if list(map(type, parts)) != [str, list]:
            raise ValueError("its list of parameters makes no sense.")


def _refuse_long(description: Json) -> None:
    """Refuse a model with more parts than parameters, before they are gone through.

    A layer has a parameter, and a rule gives one its prior. A joint prior may be of more.
    """
    count = len(description["parameters"])
    for part in parts_in(description["target"]):
        if part.name not in ("net", "prior"):
            continue
        for name, length in lists_in(part.data):
            if is_own(name) and length > 2 * count + FEW:
                raise ValueError(
                    f"its {part.name} has a list of {length:,} entries, but the file is of "
                    f"{count:,} parameters."
                )


def _target(decoder: Decoder, description: Json, data: Any) -> AbstractTarget:
    program = any(part.name == "program" for part in parts_in(description["target"]))
    try:
        target = decoder.decode(description["target"], "target")
    except ValueError as error:
        if not program:
            raise
        raise ValueError(
            f"{error} Give the data that were fitted: po.load(path, model=model, data=data)."
        ) from error
    if not isinstance(target, AbstractTarget):
        raise ValueError("its target is none.")
    return target


def _refuse_others(target: AbstractTarget, distribution: Any, parameters: Json) -> None:
    """Refuse a target whose parameters are not those of the file."""
    saved = {str(path): tuple(shape) for path, shape in parameters}
    for parameter in target.parameters:
        if saved.pop(parameter.path, None) != parameter.shape:
            raise ValueError(
                f"the model's parameter {parameter.path!r} of shape {parameter.shape} is not in "
                "the file; it holds another model's posterior."
            )
    if saved:
        raise ValueError(f"the model has no parameter {next(iter(saved))!r}.")
    if [[p.path, list(p.shape)] for p in target.parameters] != parameters:
        raise ValueError("its list of parameters is not that of its model.")
    if not isinstance(distribution, AbstractDistribution):
        raise ValueError("its distribution is none.")
    if distribution.size != target.size:
        raise ValueError(
            f"its distribution is of {distribution.size} numbers, but the model has {target.size} "
            "parameters."
        )


def _refuse_read_otherwise(target: AbstractTarget, data: Json, tensors: Any) -> None:
    """Refuse a model that would be written otherwise than the file has it: True read as 1.0."""
    encoder = Encoder(otherwise=left_to_give)
    here = {part.path: part for part in parts_in(encoder.encode(target, "target"))}
    for part in parts_in(data):
        if part.foreign or part.path not in here:
            continue
        found = difference(part.data, tensors, here[part.path].data, encoder.tensors, part.name)
        if found is not None:
            path, said, read = found
            raise ValueError(f"{path} is {said} in the file, and would be read as {read}.")


def _same(kind: Any, data: Json) -> Any:
    """A result or diagnostics that say what the file says."""
    try:
        made = kind.from_json(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"its {kind.__name__.lower()} makes no sense.") from error
    if made.to_json() != data:
        raise ValueError(f"its {kind.__name__.lower()} makes no sense.")
    return made


def _refuse_constant(name: str) -> float:
    raise ValueError(f"its description has a number {name}.")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"its description has a number {digits[:40]}, which is beyond all range.")
    return number


def _verified(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The description and the arrays of a file whose checksum holds."""
    try:
        _refuse_long_header(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            checksum, text = _entries(metadata)
            if not text:
                raise PosteriorFileError(
                    f"{path}: a safetensors file, but not a posterior saved by this library."
                )
            if _too_long(len(text), path.stat().st_size - len(text)):
                raise PosteriorFileError(f"{path}: its description is too long to be one of ours.")
            tensors: dict[str, np.ndarray] = {
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
    if digest(text, tensors) != checksum:
        raise PosteriorFileError(
            f"{path}: its checksum does not fit its content; the file has been altered or damaged."
        )
    return text, tensors


def _entries(metadata: Mapping[str, str]) -> tuple[str, str]:
    """The checksum and the description, which is empty where there is none."""
    if "sha256" in metadata:  # an entry of its own in older files
        return metadata["sha256"], metadata.get("posterity", "")
    checksum, _, text = metadata.get("posterity", "").partition("\n")
    return checksum, text


def _too_long(letters: int, size: int) -> bool:
    """Whether a description is longer than those of arrays of so many bytes."""
    return letters > min(MOST_TEXT, LITTLE_TEXT + 8 * size)


def _refuse_long_header(path: Path) -> None:
    """Refuse a header too long for ours, before it is read; there quotation marks take two."""
    with path.open("rb") as file:
        start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) == 8 and _too_long(2 * length // 3, max(path.stat().st_size - length, 0)):
        raise PosteriorFileError(f"{path}: its description is too long to be one of ours.")


def _too_large(file: Any, name: str) -> bool:
    """Whether an array is of draws, and so many that they stay in the file."""
    if name != THETA:
        return False
    part = file.get_slice(name)
    numbers = int(np.prod(part.get_shape(), dtype=np.int64))
    return not memory.fits(numbers * (8 if part.get_dtype() == "F64" else 4))


def _with_suffix(path: Path) -> Path:
    return path if path.suffix else path.with_name(path.name + SUFFIX)
