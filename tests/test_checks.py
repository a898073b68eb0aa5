"""Settings: each bad value of each argument of each constructor is refused at once, by name."""

from __future__ import annotations

import inspect
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import posterity as po
from handmade import gaussian_of, posterior_of
from posterity.checks import Settings
from posterity.methods.vi.families import Flow, LowRank

BAD: dict[str, Any] = {
    "None": None,
    "a word": "ten",
    "nan": float("nan"),
    "inf": float("inf"),
    "negative": -1,
    "bool": True,
    "array": np.ones(2),
    "10^9": 10**9,
    "list": [],
    "object": object(),
}
NUMBERS = {"negative", "10^9"}  # that a real number without bounds may be

# What is called, the arguments that it needs, and for each argument the names of bad values that it
# takes after all.
POSITIVE = {"10^9"}
METHODS = {
    name: (getattr(po, name), {"batch_size": 4} if name == "SGFS" else {})
    for name in (
        "ADVI", "DADVI", "HMC", "IVON", "MAMCLMC", "MAP", "MCLMC", "NUTS", "ParallelTempering",
        "SGFS", "SGHMC", "SGLD", "SGNHT",
    )
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "LowRank": (LowRank, {}),
    "Flow": (Flow, {}),
    "Halving": (po.schedules.Halving, {"decay": 10.0}),
    "Polynomial": (po.schedules.Polynomial, {"delay": 10.0}),
    "Cyclical": (po.schedules.Cyclical, {"explore": 10, "sample": 10}),
    "MLP": (po.nets.MLP, {"in_size": 2, "hidden": [3], "out_size": 1}),
    "CNN": (
        po.nets.CNN,
        {"in_shape": (8, 8, 1), "channels": [2], "hidden": [3], "out_size": 1},
    ),
    "LeNet5": (po.nets.LeNet5, {}),
    "ResNet": (po.nets.ResNet, {}),
    "Recurrent": (po.nets.Recurrent, {"in_size": 2, "hidden": 3, "out_size": 1}),
    "priors.Normal": (po.priors.Normal, {}),
    "priors.ScaleMixture": (po.priors.ScaleMixture, {}),
    "likelihoods.Categorical": (po.likelihoods.Categorical, {"classes": 3}),
    "likelihoods.Normal": (po.likelihoods.Normal, {}),
    "likelihoods.StudentT": (po.likelihoods.StudentT, {}),
    "learned": (po.learned, {"start": 1.0}),
    "data.moons": (po.data.moons, {}),
    "data.breast_cancer": (po.data.breast_cancer, {}),
}
# Documented as valid, by argument; by call and argument where calls differ.
VALID: dict[str, set[str]] = {
    "batch_size": {"None"},
    "optimizer": {"None"},
    "stop": {"bool"},
    "antithetic": set(),  # of one draw; False is its default
    "linear_response": {"bool"},
    "with_prior": {"bool"},
    "use_bias": {"bool"},
    "noise_estimate": {"bool"},
    "starts": {"None"},
    "step_size": {"None", *POSITIVE},
    "step_size_decay": {"None", *POSITIVE},
    "hess_init": {"None", *POSITIVE},
    "beta_2": {"None"},
    "kl_weight": POSITIVE,
    "init_scale": POSITIVE,
    "tolerance": POSITIVE,
    "temperature": POSITIVE,
    "bias": POSITIVE,
    "length": POSITIVE,
    "energy_var": POSITIVE,
    "decay": POSITIVE,
    "delay": POSITIVE,
    "preconditioner": {"None", "array"},
    "information": {"None"},
    "control_variates": {"None"},
    "DADVI.draws": {"None"},
    "hidden": {"list"},  # no hidden layer
    "Recurrent.hidden": set(),
    "channels": {"list"},
    "in_shape": set(),
    "ResNet.in_shape": {"None"},
    "loc": NUMBERS,
    "scale": POSITIVE,
    "likelihoods.Normal.scale": POSITIVE,
    "scale_1": POSITIVE,
    "scale_2": POSITIVE,
    "df": POSITIVE,
    "start": NUMBERS,
    "noise": POSITIVE,
    "seed": {"10^9"},
    "SGLD.warmup": {"None"},
    "SGHMC.warmup": {"None"},
    "SGNHT.warmup": {"None"},
    "SGFS.warmup": {"None"},
    "SGFS.batch_size": set(),
}
CALLS = {**METHODS, **OTHERS}


@pytest.mark.parametrize("name", CALLS)
def test_each_bad_value_of_each_argument_is_refused_by_name(name: str) -> None:
    build, needed = CALLS[name]
    wrong = []
    for argument in inspect.signature(build).parameters:
        valid = VALID.get(f"{name}.{argument}", VALID.get(argument, set()))
        for kind, value in BAD.items():
            given = {**needed, argument: value}
            try:
                build(**given)
            except (TypeError, ValueError) as error:
                if kind in valid:
                    wrong.append(f"{argument}={kind}: refused: {error}")
                elif argument not in str(error) or name.rpartition(".")[2] not in str(error):
                    wrong.append(f"{argument}={kind}: {error!r}")
            else:
                if kind not in valid:
                    wrong.append(f"{argument}={kind}: accepted")
    assert not wrong, "\n".join(wrong)


def test_all_problems_of_a_constructor_are_in_one_message() -> None:
    with pytest.raises(ValueError) as caught:
        po.ADVI(steps=0, chains="two", kl="open", step_size=-1.0, stop="no", family=3)
    for word in ("ADVI: ", "steps must be a whole number from 1, not 0", "chains must be",
                 'kl must be one of "closed"', "step_size must be positive", "stop must be True",
                 "family: there is no 3"):  # fmt: skip
        assert word in str(caught.value)
    with pytest.raises(ValueError, match=r"CNN: in_shape must have 3.*channels.*out_size.*activ"):
        po.nets.CNN((8, 8), 4, [3], 0, activation="relu")
    with pytest.raises(ValueError, match=r"StudentT: df must be above 2.*scale must be positive"):
        po.likelihoods.StudentT(df=1, scale=0)


def test_sizes_that_no_memory_holds_are_refused_before_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"MLP: it would have 10,000,200,000 weights, 40 GB"):
        po.nets.MLP(1, [100_000, 100_000], 1, use_bias=False)
    with pytest.raises(ValueError, match=r"warmup \+ draws × thin must be at most 2,147,483,647"):
        po.NUTS(draws=10**8, thin=100)
    monkeypatch.setattr("posterity.memory.available", lambda: 10**9)
    with pytest.raises(ValueError, match=r"draws: 100,000,000 draws of 2 numbers take 0\.8 GB"):
        POSTERIOR.sample(10**8)
    with pytest.raises(ValueError, match=r"draws: must be a whole number from 1 to 100,000,000"):
        POSTERIOR.sample(10**9)


def test_numbers_of_every_kind_are_numbers() -> None:
    for number in (2, 2.0, np.float32(2), np.float64(2), np.int64(2), np.array(2.0), jnp.array(2)):
        assert po.priors.Normal(0, number).latents({"w": ()})["w"].scale == 2.0
        assert po.likelihoods.Normal(number).scale == 2.0
        assert po.learned(number).value == 2.0
    assert po.nets.MLP(np.int64(1), np.array([2, 3]), np.int32(1)).hidden == (2, 3)
    assert po.MAP(steps=np.int64(5), optimizer=optax.adam(0.1)).steps == 5
    assert po.likelihoods.Normal(dist.HalfNormal(1.0)).unknowns()


@pytest.mark.parametrize("argument", ["net", "prior", "likelihood"])
def test_parts_of_a_model_that_are_none_are_refused_by_name(argument: str) -> None:
    parts = {"net": MODEL.net, "prior": MODEL.prior, "likelihood": MODEL.likelihood}
    for value in BAD.values():
        with pytest.raises((TypeError, ValueError), match=f"{argument}: "):
            po.Model(**{**parts, argument: value})
    with pytest.raises(TypeError, match=r"likelihood: .* net: .* prior: "):
        po.Model(None, None, None)


def test_an_argument_is_told_once() -> None:
    with pytest.raises(ValueError) as caught:
        po.SGFS(batch_size=4, temperature=-1.0)
    assert str(caught.value).count("temperature") == 1


# -- arguments of calls ---------------------------------------------------------------------------

X = np.linspace(-1, 1, 5)[:, None]
MODEL = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
POSTERIOR = posterior_of(MODEL, gaussian_of(np.zeros(2), np.ones(2)))
FIT = {
    "seed": {"negative", "10^9"},
    "progress": {"None", "bool"},
    "every": {"None"},
    "call": {"None"},
    "spool": {"None", "bool", "a word"},
    "cpu_kernels": {"bool"},
}


@pytest.mark.parametrize("argument", FIT)
def test_bad_settings_of_a_fit_are_refused_before_anything_else(argument: str) -> None:
    for kind, value in BAD.items():
        if kind in FIT[argument]:
            continue
        also = {"call": print} if argument == "every" else {}
        also = {"every": 5} if argument == "call" else also
        with pytest.raises((TypeError, ValueError), match=f"fit: {argument} must be"):
            # Rows that do not fit show that nothing was looked at before.
            po.fit(MODEL, (X, X[:2]), po.MAP(steps=1), **{argument: value}, **also)
    with pytest.raises(
        (TypeError, ValueError), match=r"fit: seed must be .*; every must be .*call"
    ):
        po.fit(MODEL, (X, X[:2]), po.MAP(steps=1), seed="a", every=0, call=3)


@pytest.mark.parametrize("init", [None, "ten", 3.0, True, float("nan")])
def test_an_init_that_is_none_is_refused(init: Any) -> None:
    with pytest.raises(ValueError, match="fit: init"):
        po.fit(MODEL, (X, X[:2]), po.MAP(steps=1), init=init)


PREDICTED: dict[str, Any] = {
    "q": lambda pred, value: pred.quantile(value),
    "p": lambda pred, value: pred.interval(value),
    "of": lambda pred, value: pred.raw(of=value),
    "scale": lambda pred, value: pred.rescaled(0.0, value),
    "loc": lambda pred, value: pred.rescaled(value, 1.0),
    "progress": lambda _, value: POSTERIOR.predict(X, progress=value),
    "draws": lambda _, value: POSTERIOR.predict(X, draws=value),
    "seed": lambda _, value: POSTERIOR.predict(X, draws=5, seed=value),
    "correlations": lambda _, value: POSTERIOR.update(
        (X, X[:, 0]), po.MAP(steps=1), correlations=value
    ),
    "method": lambda _, value: POSTERIOR.update((X, X[:, 0]), value),
    "bins": lambda pred, value: po.metrics.ece(X[:, 0] > 0, pred, value),
}
ACCEPTED = {
    "loc": NUMBERS,
    "scale": POSITIVE,
    "progress": {"None", "bool"},
    "draws": {"None"},
    "seed": {"negative", "10^9"},
    "correlations": {"None"},
    "method": {"None"},
}


@pytest.mark.parametrize("argument", PREDICTED)
def test_bad_arguments_of_predictions_and_updates_are_refused_by_name(argument: str) -> None:
    pred = POSTERIOR.predict(X, draws=5)
    for kind, value in BAD.items():
        if kind in ACCEPTED.get(argument, set()):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            PREDICTED[argument](pred, value)
        assert argument in str(caught.value), (kind, str(caught.value))


def test_a_message_repeats_no_long_value() -> None:
    wrong = Settings("Call")
    wrong.counts(first="x" * 10_000, second=np.zeros((1000, 1000)))
    with pytest.raises(ValueError, match="shape") as caught:
        wrong.refuse()
    assert len(str(caught.value)) < 250
