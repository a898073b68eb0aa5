"""update: yesterday's posterior is today's prior."""

from __future__ import annotations

import dataclasses
from typing import Any

from posterity.diagnostics import Code
from posterity.inference import stand_in
from posterity.inference.fit import fit
from posterity.inference.method import AbstractMethod
from posterity.model import Model
from posterity.posterior.as_prior import Correlations
from posterity.posterior.posterior import Posterior


def update(
    posterior: Posterior,
    data: Any,
    method: AbstractMethod | None,
    correlations: Correlations | None,
    seed: int,
    **settings: Any,
) -> Posterior:
    """`Posterior.update`, which see."""
    chosen = made_by(posterior) if method is None else method
    prior = posterior.as_prior(correlations)
    target = posterior.target
    start = Posterior(
        target, prior.density, posterior.history, posterior.settings, posterior.result
    )
    model = Model(target.net, prior, target.likelihood)
    settings.setdefault("init", start)
    found = fit(model, data, chosen, seed=seed, **settings)
    unfinished = (Code.INTERRUPTED, Code.FAILED)
    x = next(iter(data))  # a pair, as the fit has found
    said = [stand_in.warning(posterior, prior.density, x)]
    if posterior.result.code in unfinished:
        said.append(
            f"The posterior that was updated had been {posterior.result.code.value}: what it had "
            "not yet learned from its data is missing here, too."
        )
    warnings = (*found.result.warnings, *filter(None, said))
    found.result = dataclasses.replace(found.result, warnings=warnings)
    return found


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
