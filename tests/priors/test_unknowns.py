"""What a prior of one's own must give, and what it is told where it does not."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.learnable import Slot
from posterity.model.net_target import Target
from posterity.priors.prior import AbstractPrior, as_prior

NET = po.nets.MLP(2, [3], 1)
PATHS = ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]


class Scaled(AbstractPrior):
    """w = s z with one s for all."""

    scale: Any = dist.HalfNormal(1.0)

    def latents(self, shapes):
        z = {f"prior.z.{p}": dist.Normal(0.0, 1.0).expand(s) for p, s in shapes.items()}
        return {"prior.s": self.scale, **z}

    def weights(self, latents, columns=None, key=None):
        z = {n[8:]: v for n, v in latents.items() if n.startswith("prior.z.")}
        return {path: latents["prior.s"] * value for path, value in z.items()}

    def start(self, weights, key):
        return {"prior.s": jnp.ones(()), **{f"prior.z.{p}": w for p, w in weights.items()}}


class Joint(AbstractPrior):
    """exp(−|w|² / 2) over all weights, as one density."""

    def latents(self, shapes):
        return {path: dist.Normal(0.0, 9.0) for path in shapes}

    def log_density(self, latents):
        return -0.5 * sum(jnp.sum(value**2) for value in latents.values())


def built(prior: Any, likelihood: Any = None) -> Target:
    model = po.Model(NET, prior, likelihood or po.likelihoods.Normal(dist.HalfNormal(1.0)))
    return Target.build(model, (2,), (), 10)


def test_single_unknowns_come_last_of_the_latents():
    target = built(Scaled())
    assert target.paths == (*(f"prior.z.{path}" for path in PATHS), "prior.s", "likelihood.scale")
    assert target.derived == tuple(PATHS)
    assert target.named == ("prior.s", "likelihood.scale")
    assert target.net_leaves == 4


def test_a_part_keeps_its_unknowns_under_its_pattern():
    """Each part sees its own weights only, under its own names; the plain part stays one block."""
    target = built({"layers.0.*": Scaled(), "*": po.priors.Normal(0, 1)})
    begin = "prior.layers.0.*"
    assert target.paths == (
        f"{begin}.z.layers.0.bias",
        f"{begin}.z.layers.0.weight",
        "layers.1.bias",
        "layers.1.weight",
        f"{begin}.s",
        "likelihood.scale",
    )
    assert [block.count for block in target.blocks] == [3, 6, 4, 1, 1]
    theta = target.prior_draw(jax.random.key(0))
    values = target.values(theta)
    expected = values[f"{begin}.s"] * values[f"{begin}.z.layers.0.weight"]
    np.testing.assert_allclose(values["layers.0.weight"], expected, rtol=1e-6)
    by_hand = (
        sum(dist.Normal(0, 1).log_prob(values[path]).sum() for path in target.paths[:4])
        + dist.HalfNormal(1).log_prob(values[f"{begin}.s"])
        + dist.HalfNormal(1).log_prob(values["likelihood.scale"])
    )
    np.testing.assert_allclose(target.log_prior(theta, jacobian=False), by_hand, rtol=1e-5)
    jacobian = jnp.log(values[f"{begin}.s"] * values["likelihood.scale"])
    np.testing.assert_allclose(target.log_prior(theta), by_hand + jacobian, rtol=1e-5)


def test_a_run_starts_at_the_nets_weights():
    """Whatever the weights are made of; and at draws of the latents where it is asked to."""
    plain, scaled = built(po.priors.Normal(0, 1)), built(Scaled())
    key = jax.random.key(3)
    at, of = plain.values(plain.net_draw(key)), scaled.values(scaled.net_draw(key))
    for path in PATHS:
        np.testing.assert_allclose(at[path], of[path], rtol=1e-5, atol=1e-6)
    assert scaled.constrain(scaled.net_draw(key))["prior.s"] == pytest.approx(1.0)


def test_a_joint_density_of_positive_latents_counts_their_jacobian():
    class Positive(Joint):
        """exp(−|w|² / 2) over positive weights, w = exp(θ)."""

        def latents(self, shapes):
            return {path: dist.HalfNormal(9.0) for path in shapes}

    target = built(Positive())
    theta = jnp.linspace(-1.0, 1.0, target.size)
    weights, scale = np.exp(theta[:-1]), np.exp(theta[-1])
    by_hand = -0.5 * np.sum(weights**2) + dist.HalfNormal(1).log_prob(scale)
    np.testing.assert_allclose(target.log_prior(theta, jacobian=False), by_hand, rtol=1e-5)
    np.testing.assert_allclose(target.log_prior(theta), by_hand + theta.sum(), rtol=1e-5)


def test_a_joint_density_is_the_prior_of_all():
    target = built(Joint())
    theta = target.net_draw(jax.random.key(0))
    latents = {path: target.constrain(theta)[path] for path in PATHS}
    scale = dist.HalfNormal(1).log_prob(target.constrain(theta)["likelihood.scale"])
    found = target.log_prior(theta, jacobian=False) - scale
    np.testing.assert_allclose(found, Joint().log_density(latents), rtol=1e-5)
    with pytest.raises(TypeError, match="Joint gives a joint density, and cannot be drawn from"):
        target.prior_draw(jax.random.key(0))
    with pytest.raises(TypeError, match=r"Joint of pattern 'layers\.0\.\*' has a joint density"):
        built({"layers.0.*": Joint(), "*": po.priors.Normal(0, 1)})


class Misnamed(Scaled):
    def latents(self, shapes):
        return {"scale": dist.HalfNormal(1.0)}


class Forgetful(Scaled):
    def weights(self, latents, columns=None, key=None):
        made = super().weights(latents)
        return {path: value for path, value in made.items() if "bias" not in path}


class Loud(Scaled):
    def derived(self, latents):
        return {"active": jnp.ones(())}


@pytest.mark.parametrize(
    ("prior", "match"),
    [
        (Misnamed(), r"names 'scale', which is no weight of the net; .* as 'prior\.scale'"),
        (Forgetful(), r"Forgetful\.weights gives a weight 'layers\.0\.bias' that is missing"),
        (Loud(), r"Loud\.derived names 'active'; it must begin with 'prior\.'"),
    ],
)
def test_a_wrong_prior_is_told(prior, match):
    with pytest.raises(ValueError, match=match):
        built(prior)


def test_a_number_of_a_prior_is_learned():
    target = built(Scaled(dist.HalfNormal(po.learned(2.0))))
    assert [slot.name for slot in target.slots] == ["prior.scale.scale"]
    part = built({"layers.0.*": Scaled(dist.HalfNormal(po.learned(2.0))), "*": dist.Normal(0, 1)})
    assert [slot.name for slot in part.slots] == ["prior.layers.0.*.scale.scale"]
    theta = target.at_start().net_draw(jax.random.key(0))
    here = target.at(np.log([3.0])).log_prior(theta) - target.at(np.log([1.0])).log_prior(theta)
    expected = dist.HalfNormal(3.0).log_prob(1.0) - dist.HalfNormal(1.0).log_prob(1.0)
    np.testing.assert_allclose(here, expected, rtol=1e-4)


# -- tokens ---------------------------------------------------------------------------------------

CHILD = """
import pickle, sys, posterity as po
number = po.learned(1.0)
sys.stdout.buffer.write(pickle.dumps((po.priors.Normal(0, number), po.likelihoods.Normal(number))))
"""


def _from_a_process_of_its_own() -> Any:
    found = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True)
    return pickle.loads(found.stdout)


def _slots(prior: Any, likelihood: Any) -> tuple[Slot, ...]:
    return built(as_prior(prior), likelihood).slots


def test_numbers_of_two_processes_stay_two():
    (one, own), (_, other) = _from_a_process_of_its_own(), _from_a_process_of_its_own()
    assert len(_slots(one, own)) == 1  # one number in two places
    assert len(_slots(one, other)) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_model_has_as_many_numbers(copied):
    number = po.learned(1.0)
    parts = copied((po.priors.Normal(po.learned(0.0), number), po.likelihoods.Normal(number)))
    assert [slot.name for slot in _slots(*parts)] == ["prior.*.loc", "prior.*.scale"]
