"""Posterity: Bayesian neural networks. A model is a net, a prior and a likelihood."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from posterity import forks as forks
from posterity.methods import METHODS
from posterity.version import __version__ as __version__

if TYPE_CHECKING:
    from posterity import data, likelihoods, metrics, nets, plots, priors, testing
    from posterity.learnable import learned
    from posterity.methods.map import MAP
    from posterity.methods.mcmc.hmc import HMC
    from posterity.methods.mcmc.mamclmc import MAMCLMC
    from posterity.methods.mcmc.mclmc import MCLMC
    from posterity.methods.mcmc.nuts import NUTS
    from posterity.methods.mcmc.tempering import ParallelTempering
    from posterity.methods.sgmcmc import schedules
    from posterity.methods.sgmcmc.sgfs import SGFS
    from posterity.methods.sgmcmc.sghmc import SGHMC
    from posterity.methods.sgmcmc.sgld import SGLD
    from posterity.methods.sgmcmc.sgnht import SGNHT
    from posterity.methods.vi.advi import ADVI
    from posterity.methods.vi.dadvi import DADVI
    from posterity.methods.vi.ivon import IVON
    from posterity.model.model import Model
    from posterity.posterior import Posterior, ProgramPosterior, elbo, load, pareto_khat
    from posterity.predict.predictive import Predictive
    from posterity.predict.prior_predictive import prior_predictive
    from posterity.reports import report
    from posterity.run.fit import fit
    from posterity.storable import stored

# Names are imported when first used: `import posterity` and the command line start at once, and
# what needs an extra is needed only by those who use it.
_MODULES = {
    "data": "posterity.data",
    "likelihoods": "posterity.likelihoods",
    "metrics": "posterity.metrics",
    "nets": "posterity.nets",
    "plots": "posterity.plots",
    "priors": "posterity.priors",
    "schedules": "posterity.methods.sgmcmc.schedules",
    "testing": "posterity.testing",
}
_NAMES = {
    **METHODS,
    "Model": "posterity.model.model",
    "Posterior": "posterity.posterior",
    "ProgramPosterior": "posterity.posterior",
    "Predictive": "posterity.predict.predictive",
    "elbo": "posterity.posterior",
    "fit": "posterity.run.fit",
    "learned": "posterity.learnable",
    "load": "posterity.posterior",
    "pareto_khat": "posterity.posterior",
    "prior_predictive": "posterity.predict.prior_predictive",
    "report": "posterity.reports",
    "stored": "posterity.storable",
}

__all__ = [
    "ADVI",
    "DADVI",
    "HMC",
    "IVON",
    "MAMCLMC",
    "MAP",
    "MCLMC",
    "NUTS",
    "SGFS",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "Model",
    "ParallelTempering",
    "Posterior",
    "Predictive",
    "ProgramPosterior",
    "data",
    "elbo",
    "fit",
    "learned",
    "likelihoods",
    "load",
    "metrics",
    "nets",
    "pareto_khat",
    "plots",
    "prior_predictive",
    "priors",
    "report",
    "schedules",
    "stored",
    "testing",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name) or _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module 'posterity' has no attribute {name!r}")
    found: Any = importlib.import_module(module)
    if name in _NAMES:
        found = getattr(found, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
