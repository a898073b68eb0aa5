"""update: yesterday's posterior is today's prior."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from posterity.diagnostics.result import Code
from posterity.distributions.as_prior import Correlations
from posterity.distributions.prior_of_weights import JointPrior
from posterity.methods.map import MAP
from posterity.methods.method import AbstractMethod
from posterity.model.model import Model
from posterity.posterior import Posterior
from posterity.run import stand_in
from posterity.run.fit import as_start, fit


def update(
    posterior: Posterior,
    data: Any,
    method: AbstractMethod | None,
    correlations: Correlations | None,
    remember: Any,
    seed: int,
    **settings: Any,
) -> Posterior:
    """`Posterior.update`, which see."""
    chosen = made_by(posterior) if method is None else method
    prior = posterior.as_prior(correlations, remember=remember)
    target = posterior.target
    model = Model(target.net, prior, target.likelihood)
    if isinstance(prior, JointPrior):
        parts = posterior.history, posterior.settings, posterior.result
        settings.setdefault("init", Posterior(target, prior.density, *parts))
    elif "init" not in settings:
        chosen, settings["init"] = _started(posterior, model, data, chosen, seed)
    found = fit(model, data, chosen, seed=seed, **settings)
    said = [_not_learned(posterior)]
    if isinstance(prior, JointPrior):
        x = next(iter(data))  # a pair, as the fit has found
        said.append(stand_in.warning(posterior, prior.density, x))
    warnings = (*found.result.warnings, *filter(None, said))
    found.result = dataclasses.replace(found.result, warnings=warnings)
    return found


def _started(
    posterior: Posterior, model: Model, data: Any, method: AbstractMethod, seed: int
) -> tuple[AbstractMethod, Posterior | np.ndarray]:
    """The method of a fit that remembers predictions, and where it begins.

    New rows may ask for another curve. Descent without noise finds the way there more often than
    gradients under the noise of q, so that of several starts, of which the best counts, all but one
    have descended. That one is for wide nets, whose modes fit too well to be good places for q.
    """
    count = method.start_count(posterior.target)
    if method.collects or count == 1 or method.chains > 1:
        return method, posterior
    drawn, *seeds = np.random.SeedSequence(seed % 2**32).generate_state(count + 1)
    starts = np.array(posterior.sample(int(drawn), count)).reshape(count, 1, -1)
    for number in set(range(count)) - {count // 2}:  # the halfway start, whose cycle is long
        descent = MAP(batch_size=method.batch_size)
        init, own = starts[number, 0], int(seeds[number])
        mode = fit(model, data, descent, seed=own, init=init, progress=False)
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
    import posterity

    name = posterior.settings.get("method")
    kind = getattr(posterity, str(name), None) if name in posterity.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, AbstractMethod)):
        raise ValueError(f"method: {name!r} is no method of this library; give one, method=...")
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    given = {field: posterior.settings[field] for field in fields if field in posterior.settings}
    lost = [field for field, value in given.items() if value == "given by the user"]
    if lost:
        raise ValueError(
            f"method: the posterior comes from a file, which does not hold the {name}'s own "
            f"{', '.join(lost)}; give the method, method=po.{name}(...)."
        )
    return kind(**given)
