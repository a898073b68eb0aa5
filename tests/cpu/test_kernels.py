"""Kernels for CPUs: on, off, and where a release of JAX refuses them."""

from __future__ import annotations

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.cpu import kernels
from posterity.cpu.conv import evaluation
from posterity.cpu.random import normal
from posterity.model import net_target

X = np.asarray(jax.random.normal(jax.random.key(1), (3, 8, 8, 1)))


def net(key: jax.Array) -> eqx.Module:
    first, last = jax.random.split(key)
    layers = [
        eqx.nn.Lambda(lambda x: jnp.moveaxis(x, -1, 0)),
        eqx.nn.Conv2d(1, 2, 3, key=first),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(72, 1, key=last),
    ]
    return eqx.nn.Sequential(layers)


NETS = {
    "CNN": po.nets.CNN((8, 8, 1), channels=[2], hidden=[4], out_size=1, kernel=3, pool=2),
    "Equinox": net(jax.random.key(0)),
    "MLP of pixels": po.nets.MLP(1, [3], 1),
}


def predicted(name: str, **settings: bool) -> np.ndarray:
    model = po.Model(NETS[name], po.priors.Normal(), po.likelihoods.Normal(0.5))
    x = X[:, :1, 0, 0] if name.startswith("MLP") else X
    posterior = po.fit(model, (x, np.arange(3.0)), po.MAP(steps=3), progress=False, **settings)
    return posterior.predict(x).mean


@pytest.mark.parametrize("name", NETS)
def test_a_net_predicts_alike_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on = predicted(name)
    monkeypatch.setenv(kernels.VARIABLE, "off")
    jax.clear_caches()
    np.testing.assert_allclose(predicted(name), on, rtol=1e-4, atol=1e-5)
    jax.clear_caches()


@pytest.mark.parametrize("name", ["CNN", "MLP of pixels"])
def test_an_argument_of_a_fit_switches_them_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on = predicted(name)

    def used(*_: object) -> None:
        raise AssertionError("a kernel was used")

    jax.clear_caches()
    monkeypatch.setattr(net_target, "lowered", used)
    np.testing.assert_allclose(predicted(name, cpu_kernels=False), on, rtol=1e-4, atol=1e-5)


def test_the_argument_is_refused_where_it_would_do_nothing() -> None:
    def program(y: jax.Array) -> None:
        numpyro.sample("y", dist.Normal(numpyro.sample("w", dist.Normal()), 1.0), obs=y)

    model = po.Model.from_numpyro(program)
    with pytest.raises(ValueError, match="cpu_kernels: a program"):
        po.fit(model, {"y": np.ones(3)}, po.MAP(), progress=False, cpu_kernels=False)
    with pytest.raises(TypeError, match="cpu_kernels must be True or False, not 'off'"):
        po.fit(model, {"y": np.ones(3)}, po.MAP(), progress=False, cpu_kernels="off")


def test_off_leaves_functions_and_noise_to_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "off")
    assert kernels.lowered(abs) is abs
    key = jax.random.key(0)
    noise = jax.make_jaxpr(lambda: normal(key, (4,), np.float32))()
    theirs = jax.make_jaxpr(lambda: jax.random.normal(key, (4,)))()
    assert str(noise) == str(theirs)


def test_where_jax_refuses_them_one_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("a primitive has other parameters")

    kernels._warned.cache_clear()
    rules = dict.fromkeys(evaluation.RULES, refuse)
    monkeypatch.setattr(evaluation, "RULES", rules)

    def smooth(x: jax.Array) -> jax.Array:
        return jax.lax.conv(x, jnp.ones((1, 1, 3, 3)), (1, 1), "VALID")

    x = jnp.ones((2, 1, 5, 5))
    with pytest.warns(RuntimeWarning, match="POSTERITY_CPU_KERNELS=off"):
        np.testing.assert_array_equal(kernels.lowered(smooth)(x), smooth(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.lowered(smooth)(x)
