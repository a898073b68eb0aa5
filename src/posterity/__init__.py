"""Posterity: Bayesian neural networks. A model is a net, a prior and a likelihood."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from posterity.cpu.collector import paused_collection

if TYPE_CHECKING:
    from posterity import data, likelihoods, metrics, nets, plots, priors
    from posterity.diagnostics.elbo import elbo
    from posterity.diagnostics.khat import pareto_khat
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
    from posterity.posterior import Posterior, load
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
}
_NAMES = {
    "ADVI": "posterity.methods.vi.advi",
    "DADVI": "posterity.methods.vi.dadvi",
    "IVON": "posterity.methods.vi.ivon",
    "MAP": "posterity.methods.map",
    "Model": "posterity.model.model",
    "HMC": "posterity.methods.mcmc.hmc",
    "MAMCLMC": "posterity.methods.mcmc.mamclmc",
    "MCLMC": "posterity.methods.mcmc.mclmc",
    "NUTS": "posterity.methods.mcmc.nuts",
    "ParallelTempering": "posterity.methods.mcmc.tempering",
    "Posterior": "posterity.posterior",
    "Predictive": "posterity.predict.predictive",
    "SGFS": "posterity.methods.sgmcmc.sgfs",
    "SGHMC": "posterity.methods.sgmcmc.sghmc",
    "SGLD": "posterity.methods.sgmcmc.sgld",
    "SGNHT": "posterity.methods.sgmcmc.sgnht",
    "elbo": "posterity.diagnostics.elbo",
    "fit": "posterity.run.fit",
    "learned": "posterity.learnable",
    "load": "posterity.posterior",
    "pareto_khat": "posterity.diagnostics.khat",
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
