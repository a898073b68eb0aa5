"""Files: every posterior comes back to the bit, and no other file is taken for one."""

from __future__ import annotations

import math
import os
import pathlib
import re
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import safetensors.numpy
from numpyro.distributions.transforms import (
    AffineTransform,
    ExpTransform,
    OrderedTransform,
    PowerTransform,
    SoftplusTransform,
)

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from posterity.distributions import normal as distributions
from posterity.distributions.draws import Draws
from posterity.distributions.flow import Flow, FlowShape
from posterity.distributions.mixture import Mixture
from posterity.inputs import InputSpec, Leaf
from posterity.model.net_target import Target
from posterity.storage.encode import FUNCTIONS, CannotEncodeError, Decoder, Encoder
from posterity.storage.file import PosteriorFileError
from posterity.storage.tensors import digest

X = np.linspace(-1, 1, 12)[:, None]
SQUARE = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), PowerTransform(2.0))
COV = jnp.array([[1.0, 0.5], [0.5, 2.0]])


def contents(posterior: po.Posterior, x: np.ndarray) -> dict[str, Any]:
    """Everything that a posterior holds and says, bit for bit."""

    def bits(array: Any) -> tuple[str, tuple[int, ...], bytes]:
        array = np.asarray(array)
        return str(array.dtype), array.shape, array.tobytes()

    target, theta = posterior.target, posterior.sample(1)[0, 0]
    predicted = posterior.predict(x, draws=3)
    return {
        "distribution": type(posterior.distribution),
        "arrays": [bits(leaf) for leaf in jax.tree.leaves(posterior.distribution)],
        "history": {name: bits(values) for name, values in posterior.history.fields.items()},
        "settings": posterior.settings,
        "result": posterior.result,
        "target": (target.parameters, target.rows, target.inputs, target.y_shape),
        "weights": (float(target.kl_weight), float(target.temperature)),
        "log prior": bits(target.log_prior(theta)),
        "predictions": (bits(predicted.mean), bits(predicted.total)),
    }


NOISY = po.likelihoods.Normal(dist.HalfNormal(1.0))
LIKELIHOODS = {
    "bernoulli": (po.likelihoods.Bernoulli(), 1),
    "categorical": (po.likelihoods.Categorical(3), 3),
    "poisson": (po.likelihoods.Poisson(), 1),
    "normal": (po.likelihoods.Normal(0.1), 1),
    "normal-learned": (po.likelihoods.Normal(SQUARE), 1),
    "normal-net": (po.likelihoods.Normal("net"), 2),
    "student": (po.likelihoods.StudentT(3.3, 0.7), 1),
    "student-learned": (po.likelihoods.StudentT(4.0, dist.HalfNormal(0.3)), 1),
    "student-net": (po.likelihoods.StudentT(4.0, "net"), 2),
}


def filled(model, **kwargs):
    """A Gaussian posterior of any model."""
    y_shape = () if kwargs.get("targets") is None else (kwargs["targets"],)
    size = Target.build(model, (kwargs.get("columns", 1),), y_shape, 10).size
    mean = np.linspace(-0.5, 0.7, size)
    return posterior_of(model, gaussian_of(mean, np.full(size, 0.1)), **kwargs)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_comes_back(tmp_path, name):
    likelihood, outputs = LIKELIHOODS[name]
    posterior = filled(linear(likelihood, outputs))
    assert contents(po.load(posterior.save(tmp_path / "a")), X) == contents(posterior, X)


PRIORS = {
    "normal": po.priors.Normal(0.1, 3),
    "laplace": dist.Laplace(0.0, 0.3),
    "student": dist.StudentT(3.0, 0.0, 1.0),
    "cauchy": dist.Cauchy(0.0, 2.0),
    "half-normal": dist.HalfNormal(2.0),
    "log-normal": dist.LogNormal(0.1, 0.7),
    "gamma": dist.Gamma(2.0, 0.3),
    "inverse-gamma": dist.InverseGamma(2.0, 1.0),
    "truncated": dist.TruncatedNormal(0.5, 1.0, low=0.0),
    "interval": dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0),
    "uniform": dist.Uniform(-2.0, 0.7),
    "square": SQUARE,
    "chain": dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [AffineTransform(0.1, 2.0), ExpTransform()]
    ),
    "softplus": dist.TransformedDistribution(dist.Normal(0.0, 0.3), SoftplusTransform()),
    "arrays": {"*.weight": dist.Normal(jnp.array([0.1, 0.2]), 1.0), "*": dist.Normal(0.0, 1.0)},
    "expanded": {"*.bias": dist.Normal(0.0, 1.0).expand([1]), "*": dist.Normal(0.0, 0.3)},
    "event": {
        "*.weight": dist.Normal(0.0, 0.3).expand([1, 2]).to_event(2),
        "*": dist.Normal(0.0, 1.0),
    },
    "cov": {
        "*.weight": dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=COV),
        "*": dist.Normal(0.0, 1.0),
    },
}
WIDE = np.random.default_rng(0).normal(size=(5, 2))


@pytest.mark.parametrize(
    "name",
    list(PRIORS),
)
def test_every_prior_comes_back(tmp_path, name):
    net = po.nets.MLP(2, [], 1)
    posterior = filled(po.Model(net, PRIORS[name], po.likelihoods.Normal(0.3)), columns=2)
    loaded = po.load(posterior.save(tmp_path / "a"))
    assert contents(loaded, WIDE) == contents(posterior, WIDE)
    key = jax.random.key(0)
    np.testing.assert_array_equal(posterior.target.prior_draw(key), loaded.target.prior_draw(key))


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_every_activation_comes_back(tmp_path, activation):
    net = po.nets.MLP(1, [3], 1, activation=FUNCTIONS[activation])
    posterior = filled(po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.3)))
    loaded = po.load(posterior.save(tmp_path / "a"))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), net.init(jax.random.key(0))
    )
    np.testing.assert_array_equal(net.apply(params, X), loaded.target.net.apply(params, X))


METHODS = [
    po.MAP(steps=5),
    po.ADVI(steps=80, batch_size=5, kl_weight=0.5),
    po.SGLD(draws=6, step_size=1e-3, chains=2, thin=2),
    po.NUTS(chains=2, warmup=10, draws=5),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_what_a_fit_returns_comes_back_whole(tmp_path, method):
    posterior = po.fit(linear(LIKELIHOODS["normal-learned"][0]), (X, X[:, 0]), method)
    assert len(posterior.history) > 1
    loaded = po.load(posterior.save(tmp_path / "a"))
    assert contents(loaded, X) == contents(posterior, X)
    again = po.load(loaded.save(tmp_path / "b"))  # what was loaded is saved again
    assert contents(again, X) == contents(posterior, X)


def test_the_bound_of_a_tempered_posterior_is_the_same_from_its_file(tmp_path):
    data = X, X[:, 0]
    method = po.ADVI(steps=80, kl_weight=0.5)
    posterior = po.fit(linear(po.likelihoods.Normal(0.5)), data, method, progress=False)
    loaded = po.load(posterior.save(tmp_path / "half"))
    assert po.elbo(loaded, data, draws=100).value == po.elbo(posterior, data, draws=100).value


def test_the_temperature_of_a_sampler_and_the_degrees_of_freedom_are_in_its_file(tmp_path):
    method = po.SGLD(warmup=10, draws=10, temperature=0.5)
    model = linear(po.likelihoods.StudentT(3.3, 0.7))
    posterior = po.fit(model, (X, X[:, 0]), method, progress=False)
    loaded = po.load(posterior.save(tmp_path / "half"))
    assert float(loaded.target.temperature) == 0.5
    assert loaded.target.likelihood.df == 3.3


def test_history_of_every_dtype_and_several_targets_come_back(tmp_path):
    history = {
        "elbo": np.array([1.5, -np.inf, np.nan], np.float32),
        "exact": np.array([np.pi]),
        "ok": np.array([True, False]),
        "depth": np.arange(4, dtype=np.int32).reshape(2, 2),
        "reversed": np.arange(5)[::-1],
    }
    posterior = filled(linear(po.likelihoods.Normal(0.5), 2), targets=2, history=history)
    assert contents(po.load(posterior.save(tmp_path / "a")), X) == contents(posterior, X)


def test_the_suffix_is_added_where_there_is_none(tmp_path):
    posterior = filled(linear(po.likelihoods.Poisson()))
    assert posterior.save(tmp_path / "a") == tmp_path / "a.safetensors"
    assert posterior.save(str(tmp_path / "deep" / "b.bin")) == tmp_path / "deep" / "b.bin"
    for name in ("a", "a.safetensors", "deep/b.bin"):
        assert contents(po.load(str(tmp_path / name)), X) == contents(posterior, X)


# -- models of the user's own --------------------------------------------------------------------


def own(x):
    return jnp.tanh(x)


def test_a_net_of_ones_own_needs_the_model(tmp_path):
    net = eqx.nn.MLP(1, 1, 2, 1, key=jax.random.key(0))
    for given, words in (
        (net, "net.module is a MLP"),
        (po.nets.MLP(1, [2], 1, activation=own), "net.activation is the function own"),
    ):
        model = po.Model(given, po.priors.Normal(), po.likelihoods.Normal(0.5))
        posterior = filled(model)
        path = posterior.save(tmp_path / "a")
        with pytest.raises(PosteriorFileError, match=rf"{words}.*po\.load\(path, model=model\)"):
            po.load(path)
        assert contents(po.load(path, model=model), X) == contents(posterior, X)


class Mine(dist.Normal):
    pass


def test_a_distribution_of_ones_own_needs_the_model(tmp_path):
    model = po.Model(po.nets.MLP(1, [], 1), Mine(0.0, 1.0), po.likelihoods.Normal(0.5))
    path = filled(model).save(tmp_path / "a")
    with pytest.raises(PosteriorFileError, match=r"prior\.rules\.0\.1 is a Mine.*po\.stored"):
        po.load(path)
    assert po.load(path, model=model).target.size == 2


@pytest.mark.parametrize(
    "model",
    [
        po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.5)),
        po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5)),
        linear(po.likelihoods.Normal(dist.HalfNormal(1.0))),
        linear(po.likelihoods.Normal("net"), 2),
        linear(po.likelihoods.Normal(0.5), columns=2),
    ],
)
def test_another_model_is_refused(tmp_path, model):
    path = filled(linear(po.likelihoods.Normal(0.5))).save(tmp_path / "a")
    with pytest.raises(PosteriorFileError):
        po.load(path, model=model)


# -- files that are no posteriors ----------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a small fit, and where they are."""
    folder = tmp_path_factory.mktemp("small")
    posterior = po.fit(
        linear(po.likelihoods.Normal(0.5)), (X, X[:, 0]), po.MAP(steps=2), progress=False
    )
    path = posterior.save(folder / "small")
    return path, path.read_bytes()


def test_there_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no posterior at"):
        po.load(tmp_path / "nothing")


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(PosteriorFileError):
        po.load(tmp_path / "a")


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(small, tmp_path, share):
    content = small[1]
    (tmp_path / "a.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(PosteriorFileError, match="truncated"):
        po.load(tmp_path / "a")


def test_a_longer_file_is_refused(small, tmp_path):
    for tail in (b"\0", b" ", small[1]):
        (tmp_path / "a.safetensors").write_bytes(small[1] + tail)
        with pytest.raises(PosteriorFileError):
            po.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"F32"', b'"I32"'),  # other numbers of the same bytes
        (b'"shape":[2]', b'"shape":[ 2]'),  # the data begin one byte later
        (b'"theta"', b'"thetb"'),
        (b"history.ok", b"history.on"),
    ],
)
def test_an_edited_header_is_refused(small, tmp_path, old, new):
    assert old in small[1]
    (tmp_path / "a.safetensors").write_bytes(small[1].replace(old, new))
    with pytest.raises(PosteriorFileError):
        po.load(tmp_path / "a")


@pytest.mark.parametrize("size", [1, 8, 9, 100, 5_000])
def test_random_bytes_are_refused(tmp_path, size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        (tmp_path / "a.safetensors").write_bytes(rng.bytes(size))
        with pytest.raises(PosteriorFileError):
            po.load(tmp_path / "a")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"posterity": "{}"}])
def test_safetensors_of_others_are_refused(tmp_path, metadata):
    content = safetensors.numpy.save({"w": np.ones(2)}, metadata)
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(PosteriorFileError, match="not a posterior saved by this library"):
        po.load(tmp_path / "a")


def test_files_with_the_checksum_in_an_entry_of_its_own_are_read(small, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(small[1])
    with safetensors.safe_open(path, framework="numpy") as file:
        checksum, text = file.metadata()["posterity"].split("\n")
    tensors = safetensors.numpy.load(small[1])
    for said, fine in ((checksum, True), (checksum[::-1], False)):
        metadata = {"posterity": text, "sha256": said}
        path.write_bytes(safetensors.numpy.save(tensors, metadata))
        if fine:
            assert po.load(path).settings["steps"] == 2
        else:
            with pytest.raises(PosteriorFileError, match="checksum"):
                po.load(path)


def test_every_bit_counts(small, tmp_path):
    content = small[1]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert po.load(path).settings["steps"] == 2
    taken = []
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ (1 << bit)]), place)
                try:
                    po.load(path)
                    taken.append((place, bit))
                except PosteriorFileError:
                    pass
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert len(content) > 1_000
    assert taken == []


def test_values_that_are_not_finite_are_refused(tmp_path):
    model = linear(po.likelihoods.Normal(0.5))
    for bad in (draws_of([[np.nan]]), gaussian_of([0.0], [np.inf])):
        path = posterior_of(model, bad).save(tmp_path / "a")
        with pytest.raises(PosteriorFileError, match="not finite"):
            po.load(path)


@pytest.mark.parametrize(
    "data",
    [
        {"$numpyro": "os.system", "args": {}},
        {"$numpyro": "Distribution", "args": {"__class__": 1}},
        {"$numpyro": "constraints", "args": {}},
        {"$numpyro": "Normal", "args": {"loc": 0.0, "validate_args": True}},
        {"$numpyro": "TransformedDistribution", "base": {"$numpyro": "Normal", "args": {}},
         "transforms": [{"$transform": "ComposeTransform", "args": {}}]},
        {"$stored": "os.system", "parts": {}},
        {"$function": "nets.MLP"},
        {"$anything": 1},
    ],
)  # fmt: skip
def test_a_description_builds_nothing_that_is_not_registered(data):
    with pytest.raises(ValueError):
        Decoder({}).decode(data, "x")


def test_transforms_of_other_kinds_cannot_be_described():
    given = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0).expand([3]).to_event(1), OrderedTransform()
    )
    with pytest.raises(CannotEncodeError, match="OrderedTransform"):
        Encoder().encode(given, "x")


def test_no_source_file_imports_what_runs_code_from_files():
    folder = pathlib.Path(po.__file__).parent
    files = list(folder.rglob("*.py"))
    assert len(files) > 20
    forbidden = re.compile(
        r"^\s*(import|from)\s+(pickle|cloudpickle|dill|marshal|shelve|joblib)\b"
        r"|(?<![.\w])(eval|exec)\(|allow_pickle\s*=\s*True",
        re.MULTILINE,
    )
    found = [path.name for path in files if forbidden.search(path.read_text())]
    assert found == []


@pytest.mark.parametrize("call", ["replace", "fsync", "chmod"])
def test_a_crash_while_saving_keeps_the_old_file(monkeypatch, tmp_path, call):
    old = filled(linear(po.likelihoods.Normal(0.5)))
    path = old.save(tmp_path / "a")
    before = path.read_bytes()

    def crash(*args, **kwargs):
        raise OSError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(os, call, crash)
        with pytest.raises(OSError, match="the disk is full"):
            filled(linear(po.likelihoods.Normal(0.7))).save(tmp_path / "a")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_checksum_is_of_shapes_and_dtypes_too():
    same_bytes = [
        np.zeros((2, 3), np.float32),
        np.zeros((3, 2), np.float32),
        np.zeros((2, 3), np.int32),
    ]
    assert len({digest("", {"a": array}) for array in same_bytes}) == 3


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_every_temperature_that_is_fitted_is_loaded(tmp_path, temperature):
    model = linear(po.likelihoods.Normal(0.5))
    method = po.SGLD(draws=4, step_size=1e-3, temperature=temperature)
    posterior = po.fit(model, (X, X[:, 0]), method, progress=False)
    loaded = po.load(posterior.save(tmp_path / "cold"))
    assert float(loaded.target.temperature) == temperature
    np.testing.assert_array_equal(loaded.sample(), posterior.sample())


# -- precision ------------------------------------------------------------------------------------

KINDS = ("Gaussian", "FullRank", "LowRank", "Mixture", "Flow", "Draws")


def of_kind(kind: str, size: int) -> Any:
    """A distribution of every kind, in the precision of the moment, of numbers with many digits."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(0.1, 1, shape))

    normal = distributions.Gaussian(array(size), array(size))
    if kind == "Flow":
        pytest.importorskip("flowjax")
        shape = FlowShape(size, 1, 2)
        return Flow(array(size), array(size), array(*shape.start().shape), shape)
    return {
        "Gaussian": lambda: normal,
        "FullRank": lambda: distributions.FullRank(array(size), jnp.tril(array(size, size))),
        "LowRank": lambda: distributions.LowRank(array(size), array(size), array(size, 2)),
        "Mixture": lambda: Mixture.of([0.25, 0.75], [normal, normal]),
        "Draws": lambda: Draws(array(2, 3, size)),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "likelihood"),
    [*((kind, "normal-learned") for kind in KINDS), *(("Draws", name) for name in LIKELIHOODS)],
)
def test_double_precision_comes_back_and_single_says_what_it_loses(tmp_path, kind, likelihood):
    """Every distribution with every likelihood, and with priors whose numbers are arrays."""
    given, outputs = LIKELIHOODS[likelihood]
    with jax.enable_x64(True):
        prior = {"*.weight": dist.Normal(0.0, jnp.full(1, 0.1)), "*": dist.Normal(0.0, 1.0)}
        model = po.Model(po.nets.MLP(1, [], outputs), prior, given)
        q = of_kind(kind, Target.build(model, (1,), (), 10).size)
        posterior = posterior_of(model, q)
        path = posterior.save(tmp_path / "a")
        loaded = po.load(path)
        for one, other in zip(jax.tree.leaves(loaded.distribution), jax.tree.leaves(q)):
            assert one.dtype == np.float64
            np.testing.assert_array_equal(one, other)
        rule = loaded.target.prior.rules[0][1]
        assert np.asarray(rule.scale) == np.float64(0.1)
    with pytest.warns(UserWarning, match="double precision.*jax_enable_x64") as caught:
        rounded = po.load(path)
    assert caught[0].filename == __file__
    for one, other in zip(jax.tree.leaves(rounded.distribution), jax.tree.leaves(q)):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, np.asarray(other, np.float32))


def test_single_precision_is_loaded_into_double_without_a_word(tmp_path):
    posterior = filled(linear(po.likelihoods.Normal(0.5)))
    path = posterior.save(tmp_path / "a")
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = po.load(path)
    np.testing.assert_array_equal(loaded.distribution.mean, posterior.distribution.mean)


def test_numbers_beyond_single_precision_are_refused_there_with_the_remedy(tmp_path):
    with jax.enable_x64(True):
        model = linear(po.likelihoods.Normal(0.5))
        q = distributions.Gaussian(jnp.array([1e300]), jnp.array([1.0]))
        path = posterior_of(model, q).save(tmp_path / "a")
        assert float(po.load(path).distribution.mean[0]) == 1e300
    with pytest.raises(PosteriorFileError, match=r"mean holds numbers beyond .*jax_enable_x64"):
        po.load(path)


# -- what is saved is loaded ----------------------------------------------------------------------


def test_long_lists_of_facts_and_many_columns_come_back(tmp_path):
    model = linear(po.likelihoods.Normal(0.5), columns=5_000)
    columns = tuple(f"column {number}" for number in range(5_000))
    spec = InputSpec((Leaf("", (5_000,), "float", columns),))
    target = Target.build(model, spec, (), 10)
    q = gaussian_of(np.zeros(5_000), np.ones(5_000))
    facts = {
        "distances": np.linspace(0, 1, 10_000).tolist(),
        "counts": list(range(100)),
        "matrix": np.ones((90, 90)).tolist(),
        "ragged": [[1.0], *np.ones((90, 2)).tolist()],
        "mixed": [1, 2.0] * 50,
        "endless": [math.inf] * 100,
        "words": ["a"] * 9_000,
        "large": [2**70] * 90,
    }
    posterior = po.Posterior(target, q, settings={"method": "handmade"}, facts=facts)
    loaded = po.load(posterior.save(tmp_path / "a"))
    for name, value in facts.items():
        assert repr(loaded.facts[name]) == repr(value)
    assert loaded.target.inputs == spec


def many(count):
    """A net of that many parameters, each under a rule of its own."""

    def apply(params, x):
        return x + sum(jnp.sum(leaf) for leaf in params.values())

    net = (lambda key: {f"a{number}": jnp.ones(1) for number in range(count)}, apply)
    rules = {f"a{number}": dist.Normal(0.0, 1.0 + number) for number in range(count)}
    return po.Model(net, rules, po.likelihoods.Normal(0.5))


def test_as_many_rules_as_parameters_and_a_prior_of_more_of_them_come_back(tmp_path):
    model = many(150)
    posterior = filled(model)
    loaded = po.load(posterior.save(tmp_path / "a"), model=model)
    assert loaded.target.parameters == posterior.target.parameters
    deep = po.Model(po.nets.MLP(1, [1] * 120, 1), po.priors.Normal(), NOISY)
    prior = filled(deep).as_prior()
    after = filled(po.Model(deep.net, prior, po.likelihoods.Normal(0.5)))
    assert len(prior.parameters) == len(after.target.parameters) + 1
    again = po.load(after.save(tmp_path / "b"))
    assert again.target.parameters == after.target.parameters


def test_what_could_not_be_read_again_is_not_saved(tmp_path):
    posterior = filled(linear(po.likelihoods.Normal(0.5)))
    posterior.facts["deep"] = deep = []
    for _ in range(50):
        deep.append([])
        deep = deep[0]
    with pytest.raises(ValueError, match=r"save: facts is larger or deeper .* could not be read"):
        posterior.save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_settings_that_are_not_finite_are_saved(tmp_path, value):
    posterior = filled(linear(po.likelihoods.Normal(0.5)), stop=value)
    assert repr(po.load(posterior.save(tmp_path / "a")).settings["stop"]) == repr(value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(PosteriorFileError, match=r"is a (pipe|device)"):
            po.load(tmp_path / name)
