"""Posterity: Bayesian neural networks. A model is a net, a prior and a likelihood."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from posterity.collector import paused_collection

if TYPE_CHECKING:
    from posterity import data, likelihoods, metrics, nets, plots, priors
    from posterity.empirical import learned
    from posterity.inference.fit import fit
    from posterity.inference.map import MAP
    from posterity.inference.mcmc.hmc import HMC
    from posterity.inference.mcmc.mamclmc import MAMCLMC
    from posterity.inference.mcmc.mclmc import MCLMC
    from posterity.inference.mcmc.nuts import NUTS
    from posterity.inference.mcmc.tempering import ParallelTempering
    from posterity.inference.sgmcmc import schedules
    from posterity.inference.sgmcmc.sgfs import SGFS
    from posterity.inference.sgmcmc.sghmc import SGHMC
    from posterity.inference.sgmcmc.sgld import SGLD
    from posterity.inference.sgmcmc.sgnht import SGNHT
    from posterity.inference.vi.advi import ADVI
    from posterity.inference.vi.dadvi import DADVI
    from posterity.inference.vi.ivon import IVON
    from posterity.model import Model
    from posterity.posterior.elbo import elbo
    from posterity.posterior.khat import pareto_khat
    from posterity.posterior.posterior import Posterior
    from posterity.posterior.predictive import Predictive
    from posterity.posterior.prior_predictive import prior_predictive
    from posterity.posterior.store import load
    from posterity.reports import report

# Names are imported when first used: `import posterity` and the command line start at once, and
# what needs an extra is needed only by those who use it.
_MODULES = {
    "data": "posterity.data",
    "likelihoods": "posterity.likelihoods",
    "metrics": "posterity.metrics",
    "nets": "posterity.nets",
    "plots": "posterity.plots",
    "priors": "posterity.priors",
    "schedules": "posterity.inference.sgmcmc.schedules",
}
_NAMES = {
    "ADVI": "posterity.inference.vi.advi",
    "DADVI": "posterity.inference.vi.dadvi",
    "IVON": "posterity.inference.vi.ivon",
    "MAP": "posterity.inference.map",
    "Model": "posterity.model",
    "HMC": "posterity.inference.mcmc.hmc",
    "MAMCLMC": "posterity.inference.mcmc.mamclmc",
    "MCLMC": "posterity.inference.mcmc.mclmc",
    "NUTS": "posterity.inference.mcmc.nuts",
    "ParallelTempering": "posterity.inference.mcmc.tempering",
    "Posterior": "posterity.posterior.posterior",
    "Predictive": "posterity.posterior.predictive",
    "SGFS": "posterity.inference.sgmcmc.sgfs",
    "SGHMC": "posterity.inference.sgmcmc.sghmc",
    "SGLD": "posterity.inference.sgmcmc.sgld",
    "SGNHT": "posterity.inference.sgmcmc.sgnht",
    "elbo": "posterity.posterior.elbo",
    "fit": "posterity.inference.fit",
    "learned": "posterity.empirical",
    "load": "posterity.posterior.store",
    "pareto_khat": "posterity.posterior.khat",
    "prior_predictive": "posterity.posterior.prior_predictive",
    "report": "posterity.reports",
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
]

__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name) or _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module 'posterity' has no attribute {name!r}")
    with paused_collection():
        found: Any = importlib.import_module(module)
    if name in _NAMES:
        found = getattr(found, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
