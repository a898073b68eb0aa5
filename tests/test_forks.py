"""A process forked after JAX had started says so, where it would have waited for ever."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import posterity as po
from posterity.distributions.normal import Gaussian
from posterity.model.net_target import Target

x = np.linspace(-1, 1, 5)[:, None]
data = x, x[:, 0]
model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))

def calls():
    import jax.numpy as jnp
    target = Target.build(model, (1,), (), rows=10)
    posterior = po.Posterior(target, Gaussian(jnp.zeros(2), jnp.ones(2)))
    pred = posterior.predict(x, draws=5)
    return {
        "fit": lambda: po.fit(model, data, po.MAP(steps=1), progress=False),
        "predict": lambda: posterior.predict(x, draws=5),
        "predict ": lambda: pred.quantile(0.5),
        "predict  ": lambda: pred.log_prob(x[:, 0]),
        "sample": lambda: posterior.sample(5),
        "weights": lambda: posterior.weights("layers.0.bias"),
        "update": lambda: posterior.update(data, po.MAP(steps=1)),
        "as_prior": lambda: posterior.as_prior(),
        "diagnose": lambda: po.Posterior(target, posterior.distribution).diagnose(x),
        "elbo": lambda: po.elbo(posterior, data),
        "pareto_khat": lambda: po.pareto_khat(posterior, data),
        "prior_predictive": lambda: po.prior_predictive(model, x),
        "load": lambda: po.load("nowhere"),
    }

def child(calls, pipe):
    said = {}
    for name, call in calls.items():
        try:
            call()
            said[name] = "no word"
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
    pipe.send(said)

before = sys.argv[1] == "before"
made = {} if before else calls()
here, there = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(
    target=child, args=({"fit": lambda: calls()["predict"]()} if before else made, there)
)
process.start()
assert here.poll(60), "the forked process hangs"
for name, said in here.recv().items():
    print(name.strip(), "|", said)
process.join(10)
"""


def forked(when: str) -> list[tuple[str, str]]:
    """What each call says in a process forked before, or after, JAX has started."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, when],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    pairs = (line.split(" | ", 1) for line in done.stdout.splitlines())
    return [(name, said) for name, said in pairs]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_every_call_that_would_hang_after_a_fork_says_so_at_once() -> None:
    found = forked("after")
    assert len(found) == 13
    for name, said in found:
        assert said.startswith(f"RuntimeError: {name}: this process was forked"), (name, said)
        assert 'multiprocessing.get_context("spawn").Pool' in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_before_jax_has_started_computes() -> None:
    assert forked("before") == [("fit", "no word")]
