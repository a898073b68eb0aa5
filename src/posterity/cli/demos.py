"""`posterity demo`: worked examples."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from posterity import likelihoods, metrics, nets, priors
from posterity.cli.console import plain, say, warn
from posterity.data import datasets
from posterity.files import write_atomic
from posterity.methods.vi.advi import ADVI
from posterity.model.model import Model
from posterity.posterior import elbo
from posterity.reports import report
from posterity.run.fit import fit


def moons(out: Path, steps: int, seed: int, *, quiet: bool, progress: bool) -> dict[str, Any]:
    """Two-moons classification by variational inference, with a report.

    Returns:
        What the command prints.

    Raises:
        ValueError, OSError, ImportError: something cannot be used as it is; the message says what.
    """
    began = time.perf_counter()
    x_train, y_train, x_test, y_test = datasets.moons()
    say("Two moons: 500 rows to train on, 500 to test on; a 2-5-5-1 network.", quiet=quiet)
    method = ADVI(steps=steps)
    out.mkdir(parents=True, exist_ok=True)
    net = nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = Model(net, priors.Normal(0, 1), likelihoods.Bernoulli())
    data = (x_train, y_train)
    posterior = fit(model, data, method, seed=seed, progress=None if progress else False)
    for warning in posterior.result.warnings:
        warn(warning)
    scores = metrics.score(y_test, posterior.predict(x_test))
    bound = elbo(posterior, data)
    answer: dict[str, Any] = {
        "result": posterior.result.to_json(),
        "test": scores,
        "elbo": {"value": bound.value, "error": bound.error},
        "fit_seconds": posterior.facts["seconds"],
        "posterior": str(posterior.save(out / "posterior.safetensors")),
    }
    answer["report"] = str(
        report(
            posterior,
            out / "report.html",
            data=data,
            test=(x_test, y_test),
            title="Two moons",
            x_names=["x1", "x2"],
        )
    )
    answer["seconds"] = time.perf_counter() - began
    write_atomic(out / "demo.json", json.dumps(plain(answer), indent=2) + "\n")
    return answer
