"""update: yesterday's posterior is today's prior."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from posterity import storable
from posterity.data.batches import as_pair
from posterity.diagnostics.result import Code
from posterity.distributions.distribution import AbstractDensity, Correlations
from posterity.forks import refuse_fork
from posterity.inputs import as_inputs, row_count, take
from posterity.methods import METHODS, method_named
from posterity.methods.map import MAP
from posterity.methods.method import AbstractMethod
from posterity.model.model import Model
from posterity.posterior import Posterior
from posterity.run.finish import UNKNOWN
from posterity.run.fit import as_start, fit

UNCOMPARED = (
    "The comparison of the old draws with the normals that stand for them was interrupted: whether "
    "they predict alike at the new rows is not known."
)
ROWS = 100  # at which both predict
DRAWS = 2_000  # of each
WIDER = 1.5  # times the sd of the draws, or this part of it, beyond which it is said
SHIFTED = 0.5  # of these sds that means may be apart


def update(
    posterior: Posterior,
    data: Any,
    method: AbstractMethod | None,
    correlations: Correlations | None,
    remember: Any,
    seed: int,
    **settings: Any,
) -> Posterior:
    """`Posterior.update`: a fit whose prior is the posterior."""
    refuse_fork("update")
    settings.setdefault("cpu_kernels", posterior.target.cpu_kernels)
    chosen = made_by(posterior) if method is None else method
    target = posterior.target
    data = as_pair(data, target.likelihood, target.inputs, target.y_columns)
    prior = posterior.as_prior(correlations, remember=remember)
    model = Model(target.net, prior, target.likelihood)
    density = prior.as_distribution()
    if density is not None:
        settings.setdefault("init", Posterior(target, density))
    elif "init" not in settings:
        kernels = settings["cpu_kernels"]
        chosen, settings["init"] = _started(posterior, model, data, chosen, seed, kernels)
    found = fit(model, data, chosen, seed=seed, **settings)
    said = [_not_learned(posterior)]
    if density is not None:
        try:
            said.append(_stands_badly(posterior, density, data.x))
        except KeyboardInterrupt:  # the fit is kept
            said.append(UNCOMPARED)
    warnings = (*found.result.warnings, *filter(None, said))
    found.result = dataclasses.replace(found.result, warnings=warnings)
    return found


def _started(
    posterior: Posterior,
    model: Model,
    data: Any,
    method: AbstractMethod,
    seed: int,
    cpu_kernels: bool,
) -> tuple[AbstractMethod, Posterior | np.ndarray]:
    """The method of a fit that remembers predictions, and where it begins.

    New rows may ask for another curve. Descent without noise finds the way there more often than
    gradients under the noise of q, so that of several starts, of which the best counts, all but one
    have descended. That one is for wide nets, whose modes fit too well to be good places for q.
    Where the prior has no mode, nothing descends.
    """
    count = method.start_count(posterior.target)
    settled = count == 1 or method.chains > 1 or model.prior.no_mode()
    if method.collects or settled:
        return method, posterior
    drawn, *seeds = np.random.SeedSequence(seed % 2**32).generate_state(count + 1)
    starts = np.array(posterior.sample(count, seed=int(drawn))).reshape(count, 1, -1)
    for number in set(range(count)) - {count // 2}:  # the halfway start, whose cycle is long
        descent = MAP(batch_size=method.batch_size)
        init, own = starts[number, 0], int(seeds[number])
        settings: dict[str, Any] = {"progress": False, "cpu_kernels": cpu_kernels}
        mode = fit(model, data, descent, seed=own, init=init, **settings)
        starts[number] = as_start(mode)
    return method.near_modes(posterior.target), starts


def _not_learned(posterior: Posterior) -> str | None:
    """The sentence where the posterior that is updated was not finished."""
    if posterior.result.code not in (Code.INTERRUPTED, Code.FAILED):
        return None
    return (
        f"The posterior that was updated had been {posterior.result.code.value}: what it had "
        "not yet learned from its data is missing here, too."
    )


def made_by(posterior: Posterior) -> AbstractMethod:
    """The method that a posterior was fitted by, with its settings.

    Raises:
        ValueError: it was read from a file that cannot hold all of the method's settings.
    """
    if posterior.method is not None:
        return posterior.method
    name = str(posterior.settings.get("method"))
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is no method of this library; give one, method=...")
    kind = method_named(name)
    fields = [field.name for field in dataclasses.fields(kind)]
    given = {field: posterior.settings[field] for field in fields if field in posterior.settings}
    lost = [field for field, value in given.items() if not _is_known(value)]
    if lost:
        raise ValueError(
            f"method: the posterior comes from a file, which does not hold the {name}'s own "
            f"{', '.join(lost)}; give the method, method=po.{name}(...)."
        )
    return kind(**{field: _setting(value) for field, value in given.items()})


def _is_known(value: Any) -> bool:
    """Whether a setting says what was given, and names no class that is not there."""
    if isinstance(value, dict):
        parts = value.get("parts")
        known = storable.named(str(value.get("stored")))
        inside = parts.values() if isinstance(parts, dict) else [UNKNOWN]
        return isinstance(known, type) and all(map(_is_known, inside))
    if isinstance(value, list):
        return all(map(_is_known, value))
    return not isinstance(value, str) or value != UNKNOWN


def _setting(value: Any) -> Any:
    """What a plain setting says: the inverse of `finish.asked`."""
    if not isinstance(value, dict):
        return value
    parts = {name: _setting(part) for name, part in value["parts"].items()}
    return storable.rebuilt(storable.named(value["stored"]), parts)


# -- do the normals that stand for draws predict as the draws do? ----------------------------------


class Difference(NamedTuple):
    """How otherwise a stand-in predicts, over all rows: sds as a ratio, means in the draws' sds."""

    ratio: float
    shift: float

    @property
    def large(self) -> bool:
        """Whether either is beyond its limit."""
        return not (1 / WIDER <= self.ratio <= WIDER and self.shift <= SHIFTED)


def difference(posterior: Posterior, density: AbstractDensity, x: Any) -> Difference:
    """The epistemic sds and the means of a density beside those of a posterior.

        ratio² = Σ Var_q E[y | x, θ] / Σ Var E[y | x, θ]
        shift² = Σ (E_q y − E y)² / Σ Var E[y | x, θ]

    Args:
        posterior: the draws. density: what stands for them. x: inputs; 100 of them are used.
    """
    inputs = as_inputs(x, posterior.target.inputs)
    rows = row_count(inputs)
    inputs = take(inputs, np.linspace(0, rows - 1, min(ROWS, rows)).astype(int))
    other = Posterior(posterior.target, density)
    drawn = posterior.predict(inputs, draws=min(DRAWS, posterior.distribution.stored or DRAWS))
    stood = other.predict(inputs, draws=DRAWS)
    var = float(np.sum(drawn.epistemic, dtype=np.float64)) or 1e-30
    wider = float(np.sum(stood.epistemic, dtype=np.float64))
    apart = float(np.sum((stood.mean - drawn.mean) ** 2, dtype=np.float64))
    return Difference(float(np.sqrt(wider / var)), float(np.sqrt(apart / var)))


def _stands_badly(posterior: Posterior, density: AbstractDensity, x: Any) -> str | None:
    """The sentence where a density predicts otherwise than the draws that it stands for."""
    if posterior.distribution.stored is None:
        return None
    found = difference(posterior, density, x)
    if not found.large:
        return None
    return (
        "The normals that stand for the old draws predict otherwise than the draws: at the new "
        f"rows their epistemic sd is {found.ratio:.3g} times that of the draws, and their means "
        f"are {found.shift:.2g} of its sds away (limits {1 / WIDER:.2g} to {WIDER:g}, and "
        f"{SHIFTED:g}). Do not trust this update: remember predictions in place of weights, "
        "update(data, remember=x) with inputs x like the old ones, or fit all rows at once."
    )
