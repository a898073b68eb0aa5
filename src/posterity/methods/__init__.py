"""Inference methods: each turns a target and data into a distribution over θ."""

from __future__ import annotations

import importlib
from typing import Any

METHODS = {
    "ADVI": "posterity.methods.vi.advi",
    "DADVI": "posterity.methods.vi.dadvi",
    "HMC": "posterity.methods.mcmc.hmc",
    "IVON": "posterity.methods.vi.ivon",
    "MAMCLMC": "posterity.methods.mcmc.mamclmc",
    "MAP": "posterity.methods.map",
    "MCLMC": "posterity.methods.mcmc.mclmc",
    "NUTS": "posterity.methods.mcmc.nuts",
    "ParallelTempering": "posterity.methods.mcmc.tempering",
    "SGFS": "posterity.methods.sgmcmc.sgfs",
    "SGHMC": "posterity.methods.sgmcmc.sghmc",
    "SGLD": "posterity.methods.sgmcmc.sgld",
    "SGNHT": "posterity.methods.sgmcmc.sgnht",
}


def method_named(name: str) -> Any:
    """The class of a method, imported when it is asked for."""
    return getattr(importlib.import_module(METHODS[name]), name)
