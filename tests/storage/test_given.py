"""Models given to `po.load`: what the file describes must be theirs, and what it does not, too."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, posterior_of
from posterity.storage.file import PosteriorFileError

NORMAL = po.likelihoods.Normal


def net(activation=jnp.tanh, **given):
    return po.nets.MLP(1, [2], 1, activation=activation, **given)


def gaussian(size=7):
    return gaussian_of(np.linspace(-1, 1, size), np.full(size, 0.1))


DIFFERENT = {
    "activation": (po.Model(net(jax.nn.relu), po.priors.Normal(), NORMAL(0.5)),
                   "net.activation is relu in the model given, but tanh in the file"),
    "net": (po.Model(po.nets.Recurrent(1, 1, 1, cell="tanh"), po.priors.Normal(), NORMAL(0.5)),
            r"net is Recurrent\(.*\) in the model given, but MLP"),
    "likelihood": (po.Model(net(), po.priors.Normal(), po.likelihoods.Bernoulli()),
                   r"likelihood is Bernoulli\(\) in the model given, but Normal\(scale=0.5\)"),
    "noise": (po.Model(net(), po.priors.Normal(), NORMAL(0.7)),
              "likelihood.scale is 0.7 in the model given, but 0.5 in the file"),
    "unknown noise": (po.Model(net(), po.priors.Normal(), NORMAL(dist.HalfNormal(1.0))),
                      r"likelihood.scale is HalfNormal\(scale=1.0\)"),
    "prior": (po.Model(net(), dist.Laplace(0.0, 1.0), NORMAL(0.5)),
              r"prior.rules.0.1 is Laplace\(.*\) in the model given, but Normal"),
    "prior's sd": (po.Model(net(), po.priors.Normal(0, 2), NORMAL(0.5)),
                   "prior.rules.0.1.scale is 2.0 in the model given, but 1.0 in the file"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_model_is_refused_by_its_part_and_both_values(name, tmp_path):
    model = po.Model(net(), po.priors.Normal(), NORMAL(0.5))
    path = posterior_of(model, gaussian()).save(tmp_path / "a")
    assert po.load(path, model=model).target.size == 7
    other, words = DIFFERENT[name]
    with pytest.raises(PosteriorFileError, match=words):
        po.load(path, model=other)


def test_numbers_that_were_learned_are_those_of_the_file(tmp_path):
    model = po.Model(net(), po.priors.Normal(0, po.learned(1.0)), NORMAL(po.learned(0.5)))
    x = np.linspace(-1, 1, 8)[:, None]
    posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=3), progress=False)
    path = posterior.save(tmp_path / "a")
    for loaded in (po.load(path), po.load(path, model=model)):
        assert loaded.target.slots == ()
        assert loaded.target.likelihood.scale == posterior.target.likelihood.scale


def one(x):
    return jnp.tanh(x)


def other(x):
    return jnp.sin(x)


def functions(scale):
    return lambda key: {"a": jnp.ones(2)}, lambda params, x: scale * x * params["a"].sum()


class Skewed(eqx.Module):
    """A prior's distribution would do; this is a likelihood that nobody registered."""


class Doubled(NORMAL):
    factor: float = 2.0

    def __init__(self, factor):
        super().__init__(0.5)
        self.factor = factor

    def distribution(self, outputs, unknowns):
        return dist.Normal(self.factor * outputs[:, 0], 0.5)


FOREIGN = {
    "activation": (po.Model(net(one), po.priors.Normal(), NORMAL(0.5)),
                   po.Model(net(other), po.priors.Normal(), NORMAL(0.5)), "net"),
    "functions": (po.Model(functions(1.0), po.priors.Normal(), NORMAL(0.5)),
                  po.Model(functions(2.0), po.priors.Normal(), NORMAL(0.5)), "net"),
    "likelihood": (po.Model(net(), po.priors.Normal(), Doubled(2.0)),
                   po.Model(net(), po.priors.Normal(), Doubled(3.0)), "likelihood"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_part_that_the_file_cannot_describe_answers_a_probe(name, tmp_path):
    model, foreign, part = FOREIGN[name]
    size = 2 if name == "functions" else 7
    path = posterior_of(model, draws_of(np.full((3, size), 0.7))).save(tmp_path / "a")
    with pytest.raises(PosteriorFileError, match=r"po\.load\(path, model=model\).*po\.stored"):
        po.load(path)
    assert po.load(path, model=model).target.size == size
    with pytest.raises(PosteriorFileError, match=f"the {part} of the model given is not the one"):
        po.load(path, model=foreign)


class Same(NORMAL):
    """As much mean and variance as its parent, in another shape."""

    wide: bool = False

    def __init__(self, wide):
        super().__init__(0.5)
        self.wide = wide

    def distribution(self, outputs, unknowns):
        kind = dist.Laplace if self.wide else dist.Normal
        return kind(outputs[:, 0], 0.5**0.5 if self.wide else 1.0)


class Scaled(po.priors.AbstractPrior):
    """Weights that are a multiple of latents, under the same density whatever the multiple."""

    factor: float

    def latents(self, shapes):
        return {
            f"prior.z.{path}": dist.Normal(0, 1).expand(shape) for path, shape in shapes.items()
        }

    def weights(self, latents, columns=None, key=None):
        return {name.removeprefix("prior.z."): self.factor * z for name, z in latents.items()}


AT_ZERO = {
    "activation": (po.Model(net(one), po.priors.Normal(), NORMAL(0.5)),
                   po.Model(net(other), po.priors.Normal(), NORMAL(0.5)), "net"),
    "likelihood": (po.Model(net(), po.priors.Normal(), Same(False)),
                   po.Model(net(), po.priors.Normal(), Same(True)), "likelihood"),
    "prior": (po.Model(net(), Scaled(1.0), NORMAL(0.5)),
              po.Model(net(), Scaled(2.0), NORMAL(0.5)), "prior"),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_ZERO)
def test_a_probe_looks_away_from_the_mean_and_at_more_than_moments(name, tmp_path):
    model, foreign, part = AT_ZERO[name]
    path = posterior_of(model, gaussian_of(np.zeros(7), np.ones(7))).save(tmp_path / "a")
    assert po.load(path, model=model).target.size == 7
    with pytest.raises(PosteriorFileError, match=f"the {part} of the model given is not the one"):
        po.load(path, model=foreign)


class Silent(NORMAL):
    """It cannot answer, by an error that nobody foresees."""

    def mean_and_var(self, outputs, unknowns):
        raise RuntimeError("not here")


def test_a_part_that_cannot_answer_is_saved_and_is_another_only_where_it_could(tmp_path):
    q = gaussian()
    silent = po.Model(net(), po.priors.Normal(), Silent(0.5))
    path = posterior_of(silent, q).save(tmp_path / "a")
    assert po.load(path, model=silent).target.size == 7
    model = po.Model(net(), po.priors.Normal(), Doubled(2.0))
    path = posterior_of(model, q).save(tmp_path / "b")
    with pytest.raises(
        PosteriorFileError, match=r"the likelihood .* cannot be asked at the inputs"
    ):
        po.load(path, model=silent)


def program(scale):
    def model(x, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)

    return po.Model.from_numpyro(model)


def test_a_program_with_another_likelihood_is_refused(tmp_path):
    x = np.linspace(-1, 1, 5)
    posterior = po.fit(program(0.5), (x, x), po.MAP(steps=3), progress=False)
    path = posterior.save(tmp_path / "a")
    assert po.load(path, model=program(0.5), data=(x, x)).target.size == 1
    with pytest.raises(PosteriorFileError, match="the program of the model given is not the one"):
        po.load(path, model=program(0.7), data=(x, x))


def test_code_that_changed_under_its_name_is_noticed_without_a_model(tmp_path):
    def curve(x):
        return jnp.tanh(x)

    before = po.stored("tests.curve")(curve)
    path = posterior_of(po.Model(net(before), po.priors.Normal(), NORMAL(0.5)), gaussian()).save(
        tmp_path / "a"
    )
    assert po.load(path).target.net.activation is before

    def curve(x):
        return 2 * jnp.tanh(x)

    po.stored("tests.curve")(curve)
    with pytest.raises(PosteriorFileError, match=r"the net that its name .* Import the code that"):
        po.load(path)


OLDER = Path(__file__).parent / "version_2"


def test_older_files_load_with_their_probe_at_one_draw_or_with_none():
    """`own.safetensors` was written before there were several, of an MLP with `one` between."""
    path = OLDER / "own.safetensors"
    loaded = po.load(path, model=po.Model(net(one), po.priors.Normal(), Doubled(2.0)))
    np.testing.assert_array_equal(loaded.distribution.mean, np.linspace(-1, 1, 7, dtype="float32"))
    for foreign, part in (
        (po.Model(net(other), po.priors.Normal(), Doubled(2.0)), "net"),
        (po.Model(net(one), po.priors.Normal(), Doubled(3.0)), "likelihood"),
    ):
        with pytest.raises(PosteriorFileError, match=f"the {part} of the model given is not"):
            po.load(path, model=foreign)
    assert po.load(OLDER / "described.safetensors").target.net.activation is jnp.tanh


# -- opting in ------------------------------------------------------------------------------------


@po.stored("tests.swish")
def swish(x):
    return x * jax.nn.sigmoid(x)


@po.stored("tests.Tripled")
class Tripled(NORMAL):
    factor: float
    lengths: tuple[int, ...]
    more: dict[str, jax.Array]

    def __init__(self, scale, factor, lengths, more):
        super().__init__(scale)
        self.factor, self.lengths, self.more = factor, lengths, more

    def distribution(self, outputs, unknowns):
        return dist.Normal(self.factor * outputs[:, 0] + self.more["shift"], 0.5)


def test_what_opts_in_needs_no_model(tmp_path):
    given = Tripled(dist.HalfNormal(1.0), 3.0, (1, 2), {"shift": jnp.float32(0.25)})
    model = po.Model(net(swish), po.priors.Normal(), given)
    posterior = posterior_of(model, gaussian(8))
    path = posterior.save(tmp_path / "a")
    loaded = po.load(path)
    assert loaded.target.net.activation is swish
    assert (loaded.target.likelihood.factor, loaded.target.likelihood.lengths) == (3.0, (1, 2))
    x = np.linspace(-1, 1, 5)[:, None]
    np.testing.assert_array_equal(loaded.predict(x).mean, posterior.predict(x).mean)
    changed = Tripled(dist.HalfNormal(1.0), 3.0, (1, 2), {"shift": jnp.float32(0.5)})
    other = po.Model(net(swish), po.priors.Normal(), changed)
    with pytest.raises(PosteriorFileError, match=r"likelihood.more.shift is 0.5 .* 0.25"):
        po.load(path, model=other)


def test_a_distribution_of_ones_own_must_opt_in(tmp_path):
    from posterity.distributions.normal import Gaussian

    class Mine(Gaussian):
        pass

    model = po.Model(net(), po.priors.Normal(), NORMAL(0.5))
    q = gaussian()
    posterior = posterior_of(model, Mine(q.mean, q.sd))
    with pytest.raises(TypeError, match=r"distribution is a Mine.*po\.stored"):
        posterior.save(tmp_path / "a")
    po.stored("tests.Mine")(Mine)
    assert type(po.load(posterior.save(tmp_path / "a")).distribution) is Mine


def test_a_name_is_taken_once_and_a_constructor_takes_the_fields():
    with pytest.raises(ValueError, match=r"'nets.MLP' is taken by posterity.nets.mlp MLP"):
        po.stored("nets.MLP")(Skewed)
    po.stored("nets.MLP")(po.nets.MLP)  # a module that is run again

    class Other(eqx.Module):
        number: int

        def __init__(self, count):
            self.number = count

    with pytest.raises(TypeError, match=r"differ in 'count', 'number'; define stored_as"):
        po.stored("tests.Other")(Other)
