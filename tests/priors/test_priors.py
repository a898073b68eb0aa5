"""Priors: which pattern gives which parameter its prior, and what is refused."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.layout import fit_shape
from posterity.priors.prior import Prior, as_prior, by_path

SHAPES = {
    "layers.0.bias": (3,),
    "layers.0.weight": (3, 2),
    "layers.1.bias": (1,),
    "layers.1.weight": (1, 3),
}


def scales(prior: Prior) -> dict[str, float]:
    return {path: float(given.scale) for path, given in prior.latents(SHAPES).items()}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"*": 1}, (1, 1, 1, 1)),
        ({"*.bias": 5, "*": 1}, (5, 1, 5, 1)),
        ({"layers.0.*": 2, "*": 1}, (2, 2, 1, 1)),
        ({"layers.0.bias": 7, "*.bias": 5, "*": 1}, (7, 1, 5, 1)),
        ({"*.weight": 3, "layers.*.bias": 4}, (4, 3, 4, 3)),
        ({"layers.?.weight": 3, "*": 4}, (4, 3, 4, 3)),
        ({"layers.1.*": 6, "*.bias": 5, "*": 1}, (5, 1, 6, 6)),
    ],
)
def test_first_matching_pattern_gives_the_prior(rules, expected):
    prior = by_path({pattern: dist.Normal(0.0, float(sd)) for pattern, sd in rules.items()})
    assert scales(prior) == dict(zip(SHAPES, map(float, expected)))


def test_a_star_crosses_dots_and_case_counts():
    normal = dist.Normal(0.0, 1.0)
    assert set(by_path({"l*s": normal}).latents({"l.a.b.s": ()})) == {"l.a.b.s"}
    with pytest.raises(ValueError, match="matches no parameter"):
        by_path({"Layers.*": normal}).latents({"layers.0": ()})


@pytest.mark.parametrize(
    ("rules", "message", "named"),
    [
        (["*.weight", "*.gain"], "'*.gain' matches no parameter", list(SHAPES)),
        (["*", "*.bias"], "'*.bias' applies to nothing", ["more specific pattern first"]),
        (["*.bias", "layers.0.bias", "*"], "'layers.0.bias' applies to nothing", ["first match"]),
        (["*.bias"], "no pattern matches", ["layers.0.weight", "layers.1.weight", '"*"']),
        (["layers.1.*"], "no pattern matches", ["layers.0.bias", "layers.0.weight"]),
    ],
)
def test_patterns_that_do_not_fit_are_refused_and_the_paths_listed(rules, message, named):
    prior = by_path({pattern: dist.Normal(0.0, 1.0) for pattern in rules})
    with pytest.raises(ValueError) as caught:
        prior.latents(SHAPES)
    text = str(caught.value)
    assert text.startswith("prior:")
    assert message in text
    assert all(name in text for name in named)


def test_a_parameter_with_a_prior_is_not_listed_as_missing():
    with pytest.raises(ValueError) as caught:
        by_path({"*.bias": dist.Normal(0.0, 1.0)}).latents(SHAPES)
    assert "bias" not in str(caught.value)


def test_long_lists_of_paths_are_cut():
    with pytest.raises(ValueError, match="and 5 more"):
        Prior(()).latents({f"w{i}": () for i in range(25)})


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (dist.Normal(0.0, 1.0), (3, 2)),
        (dist.Normal(np.zeros(2, np.float32), 1.0), (3, 2)),
        (dist.Normal(np.zeros((3, 1), np.float32), 1.0), (3, 2)),
        (dist.MultivariateNormal(np.zeros(2, np.float32), np.eye(2, dtype=np.float32)), (3, 2)),
        (dist.MultivariateNormal(np.zeros(2, np.float32), np.eye(2, dtype=np.float32)), (2,)),
        (dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2), (3, 2)),
    ],
)
def test_a_fitted_prior_scores_a_parameter_of_the_shape(given, shape):
    fitted = fit_shape(given, shape, "w")
    if fitted is not given:
        assert fitted.shape() == shape
    value = np.ones(shape, np.float32)
    assert np.isfinite(np.asarray(fitted.log_prob(value))).all()


@pytest.mark.parametrize(
    ("given", "shape", "words"),
    [
        (dist.Normal(np.zeros(4, np.float32), 1.0), (3, 2), "batch shape (4,)"),
        (dist.Normal(np.zeros((5, 2), np.float32), 1.0), (3, 2), "batch shape (5, 2)"),
        (dist.Normal(np.zeros((3, 2), np.float32), 1.0), (2,), "batch shape (3, 2)"),
        (
            dist.MultivariateNormal(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)),
            (3, 2),
            "event shape (3,)",
        ),
        (dist.Normal(0.0, 1.0).expand([2, 3]).to_event(2), (3, 2), "event shape (2, 3)"),
        (dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2), (2,), "event shape (3, 2)"),
    ],
)
def test_a_prior_of_another_shape_is_refused_with_both_shapes_and_the_path(given, shape, words):
    with pytest.raises(ValueError) as caught:
        Prior((("*", given),)).latents({"layers.0.weight": shape})
    text = str(caught.value)
    assert words in text
    assert str(shape) in text
    assert "layers.0.weight" in text


@pytest.mark.parametrize(
    "discrete", [dist.Bernoulli(0.5), dist.Poisson(1.0), dist.Categorical(np.ones(3) / 3)]
)
def test_discrete_priors_are_refused(discrete):
    for given in (discrete, {"*": discrete}):
        with pytest.raises(TypeError, match="discrete"):
            as_prior(given)


@pytest.mark.parametrize("given", [1.0, "normal", None, [dist.Normal(0.0, 1.0)], {"*": 1.0}])
def test_what_is_no_distribution_is_refused(given):
    with pytest.raises(TypeError, match=r"prior: expected po\.priors"):
        as_prior(given)


def test_every_spelling_of_one_prior_is_the_same():
    spellings = [
        po.priors.Normal(0.5, 2),
        dist.Normal(0.5, 2.0),
        {"*": po.priors.Normal(0.5, 2)},
        {"*": dist.Normal(0.5, 2.0)},
    ]
    for given in spellings:
        for distribution in as_prior(given).latents(SHAPES).values():
            assert (float(distribution.loc), float(distribution.scale)) == (0.5, 2.0)


def test_a_prior_of_several_rules_is_no_rule_of_another():
    several = by_path({"*.bias": dist.Normal(0.0, 1.0), "*": dist.Normal(0.0, 2.0)})
    with pytest.raises(TypeError, match="prior: expected"):
        by_path({"*": several})


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_normal_refuses_a_bad_scale(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        po.priors.Normal(0, scale)


@pytest.mark.parametrize("loc", [float("nan"), float("inf"), -float("inf")])
def test_normal_refuses_a_bad_loc(loc):
    with pytest.raises(ValueError, match="loc must be finite"):
        po.priors.Normal(loc, 1)
