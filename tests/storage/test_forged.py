"""Files made to deceive: nothing but a posterior or a sentence comes out, in little time."""

from __future__ import annotations

import copy
import json
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import safetensors
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import posterity as po
from handmade import draws_of, gaussian_of, posterior_of
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.storage.encode import Decoder, Encoder
from posterity.storage.file import PosteriorFileError, _refuse_read_otherwise
from posterity.storage.tensors import digest, write

FEW = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NET = po.nets.MLP(1, [2], 1)
RULES = {"*.bias": dist.Normal(0.0, jnp.array([1.0])), "*": dist.Gamma(2.0, 0.3)}
MODEL = po.Model(NET, RULES, po.likelihoods.Normal(dist.HalfNormal(1.0)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any, dict[str, np.ndarray]]:
    """A file: its bytes, its description and its arrays."""
    posterior = posterior_of(MODEL, gaussian_of(np.linspace(-1, 1, 8), np.full(8, 0.1)), steps=3)
    path = posterior.save(tmp_path_factory.mktemp("whole") / "p")
    with safetensors.safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()["posterity"].partition("\n")[2])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return path.read_bytes(), description, tensors


def forged(folder: Any, description: Any, tensors: dict[str, np.ndarray]) -> Any:
    """The path of a file whose checksum is right."""
    text = json.dumps(description)
    metadata = {"posterity": f"{digest(text, tensors)}\n{text}"}
    return write(folder / "f.safetensors", tensors, metadata)


def put(description: Any, path: str, value: Any) -> Any:
    """A copy of a description with one value replaced."""
    changed = copy.deepcopy(description)
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place = changed
    for step in way:
        place = place[step]
    place[last] = value
    return changed


T = "target/parts"
R = f"{T}/prior/parts/rules"
FORGED = {
    "no rows": (f"{T}/rows", 0, "rows must be at least 1"),
    "negative rows": (f"{T}/rows", -5, "rows must be at least 1"),
    "half a row": (f"{T}/rows", 2.5, "'rows' of Target cannot be 2.5"),
    "negative weight": (f"{T}/kl_weight", -1.0, "kl_weight must be"),
    "endless weight": (f"{T}/kl_weight", {"$float": "inf"}, "kl_weight must be"),
    "NaN weight": (f"{T}/kl_weight", {"$float": "nan"}, "kl_weight must be"),
    "many rules": (R, [["*", {"$numpyro": "Normal", "args": {"loc": 0.0, "scale": 1.0}}]] * 100_000,
                   "too long"),
    "some rules": (R, [["*", {"$numpyro": "Normal", "args": {"loc": 0.0, "scale": 1.0}}]] * 5_000,
                   "5,000 entries"),
    "negative sd": (f"{R}/1/1", {"$numpyro": "Normal", "args": {"loc": 0.0, "scale": -1.0}},
                    "scale of Normal must be"),
    "NaN mean": (f"{R}/1/1/args/concentration", {"$float": "nan"}, "concentration of Gamma must"),
    "text": (f"{R}/1/1/args/concentration", "2", "is no number"),
    "discrete": (f"{R}/1/1", {"$numpyro": "Poisson", "args": {"rate": 1.0}}, "is discrete"),
    "no distribution": (f"{R}/1/1", {"$numpyro": "Distribution", "args": {}}, "."),
    "foreign class": (f"{T}/net/$stored", "os.system", "a name that no class has here"),
    "other class": (f"{T}/net/$stored", "likelihoods.Bernoulli", "Bernoulli takes no"),
    "unknown part": (f"{T}/net/parts/evil", 1, "MLP takes no 'evil'"),
    "wide net": (f"{T}/net/parts/hidden", [10**15], "."),
    "negative width": (f"{T}/net/parts/hidden", [-3], r"hidden\[0\] must be a whole"),
    "text for width": (f"{T}/net/parts/hidden", ["3"], "'hidden' of MLP cannot be"),
    "missing array": ("distribution/parts/sd", {"$array": "gone"}, "no array 'gone'"),
    "number for array": ("distribution/parts/sd", 1.0, "'sd' of Gaussian cannot be 1.0"),
    "array for another": ("distribution/parts/sd", {"$array": "mean"}, "below 0"),
    "settings": ("settings", [1], "settings and facts"),
    "code": ("result/code", "fine", "."),
    "format": ("format", 3, "written in format 3; this version reads 1 and 2"),
    "more": ("more", 1, "its description has"),
    "truth for number": (f"{R}/1/1/args/rate", True, "rate is no number"),
    "defaults": (f"{R}/1/1/args", {"concentration": 2.0}, "Gamma does not take"),
    "endless scale": (f"{R}/1/1", {"$numpyro": "Normal",
                                   "args": {"loc": 0.0, "scale": {"$float": "inf"}}},
                      "scale of Normal must be finite"),
    "rows beyond": (f"{T}/rows", 10**30, "no more than"),
    "deep net": (f"{T}/net/parts/hidden", [1] * 3_000, "list of 3,000 entries, but the file is of"),
    "rules beyond": (R, [["*", {"$numpyro": "Cauchy", "args": {"loc": 0.0, "scale": 1.0}}]] * 1_000,
                     "list of 1,000 entries, but the file is of 5 parameters"),
    "long pattern": (f"{R}/1/0", "*a" * 2_000, "pattern of the prior has 4,000 letters"),
    "pattern twice": (f"{R}/0/0", "*", "a pattern of the prior is there twice"),
    "many axes": (f"{T}/inputs/parts/leaves/0/parts/shape", [1] * 100, "100 axes"),
    "names of others": (f"{T}/inputs/parts/leaves/0/parts/columns", ["a", "b"], "2 columns"),
    "no draws": ("facts", {"predictive_draws": 0}, "predictions are of 0 draws"),
    "endless draws": ("facts", {"predictive_draws": 10**12}, "draws"),
    "endless probe": ("probe", {"answers": {"net": []}, "x": None, "draws": 10**9}, "probe is of"),
    "no probe": ("probe", [1], "its probe makes no sense"),
    "result": ("result", 5, "its result makes no sense"),
    "parts": (f"{T}/net/parts", [1], "has a list as its parts"),
    "true format": ("format", True, "written in format True"),
    "old format": ("format", 1, "none of format 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_descriptions_are_refused_in_a_sentence(name, whole, tmp_path):
    path, value, words = FORGED[name]
    _, description, tensors = whole
    file = forged(tmp_path, put(description, path, value), tensors)
    begin = time.process_time()
    with pytest.raises(PosteriorFileError, match=words):
        po.load(file)
    assert time.process_time() - begin < 3


def test_what_would_be_read_as_something_else_is_refused(tmp_path):
    """The last of several guards: what would be written otherwise is not what the file says."""
    model = po.Model(NET, po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = posterior_of(model, gaussian_of(np.linspace(-1, 1, 7), np.full(7, 0.1)))
    with safetensors.safe_open(posterior.save(tmp_path / "p"), "numpy") as file:
        description = json.loads(file.metadata()["posterity"].partition("\n")[2])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = put(description, f"{T}/likelihood/parts/scale", True)
    with pytest.raises(PosteriorFileError, match=r"scale must be positive and finite .*, not True"):
        po.load(forged(tmp_path, changed, tensors))
    with pytest.raises(ValueError, match=r"scale is True in the file, and would be read as 0\.5"):
        _refuse_read_otherwise(posterior.target, changed["target"], tensors)
    _refuse_read_otherwise(posterior.target, description["target"], tensors)


ARRAYS = {
    "negative sd": ("sd", lambda a: -a, "sd holds -0.1, below 0"),
    "integers": ("mean", lambda a: np.arange(8, dtype=np.int32), "mean holds int32"),
    "NaN": ("mean", lambda a: a + np.nan, "not finite"),
    "longer": ("mean", lambda a: np.ones(9, np.float32), "sd has shape"),
    "matrix": ("mean", lambda a: np.ones((8, 8), np.float32), "needs 1 axes"),
    "extra": ("more", lambda a: np.ones(3, np.float32), "'more' that nothing refers to"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_forged_arrays_are_refused_in_a_sentence(name, whole, tmp_path):
    array, change, words = ARRAYS[name]
    _, description, tensors = whole
    changed = {**tensors, array: change(tensors.get(array))}
    with pytest.raises(PosteriorFileError, match=words):
        po.load(forged(tmp_path, description, changed))


def test_deep_descriptions_are_refused(whole, tmp_path):
    _, description, tensors = whole
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(PosteriorFileError, match="deeper"):
        po.load(forged(tmp_path, put(description, f"{T}/y_shape", deep), tensors))


def test_a_flow_of_endless_width_is_not_built():
    numbers = {name: np.ones(4, np.float32) for name in ("mean", "sd", "weights")}
    parts = {name: {"$array": name} for name in numbers}
    data = {"$stored": "distributions.Flow", "parts": {**parts, "layers": 10**6, "width": 10**6}}
    with pytest.raises(ValueError, match="4 weights are not those of 1000000 layers"):
        Decoder(numbers).decode(data, "distribution")


def test_arguments_that_broadcast_to_far_more_than_the_file_are_refused():
    tensors = {"a": np.ones((40_000, 1), np.float32), "b": np.ones((1, 40_000), np.float32)}
    args = {"loc": {"$array": "a"}, "scale": {"$array": "b"}}
    with pytest.raises(ValueError, match="far larger than the file"):
        Decoder(tensors).decode({"$numpyro": "Normal", "args": args}, "x")


# -- at random ------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["nets.MLP", "Normal", "mean", "distributions.Draws", "tanh", "inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["$stored", "parts", "$numpyro", "args", "$array", "$list", "$float", "x",
                         "base", "shape", "dims", "transforms", "$learned", "token", "$given"]),
        inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@FEW
@given(data=st.data())
def test_any_value_in_any_place_is_a_posterior_or_a_sentence(data, whole, tmp_path):
    _, description, tensors = whole
    paths: list[str] = []

    def walk(value: Any, path: str) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in pairs:
            paths.append(f"{path}/{name}".strip("/"))
            if isinstance(part, (dict, list)):
                walk(part, paths[-1])

    walk(description, "")
    changed = put(description, data.draw(st.sampled_from(paths)), data.draw(JSON))
    try:
        loaded = po.load(forged(tmp_path, changed, tensors))
    except PosteriorFileError:
        return
    np.testing.assert_array_equal(loaded.distribution.mean, tensors["mean"])


@FEW
@given(place=st.integers(0, 10**6), byte=st.integers(1, 255), cut=st.booleans())
def test_damaged_bytes_never_load(place, byte, cut, whole, tmp_path):
    content = bytearray(whole[0])
    place %= len(content)
    content[place] ^= byte
    (tmp_path / "d.safetensors").write_bytes(content[:place] if cut else content)
    with pytest.raises(PosteriorFileError):
        po.load(tmp_path / "d.safetensors")


FINITE = st.floats(-10, 10, width=32)
POSITIVE = st.floats(0.125, 10, width=32)
DISTRIBUTIONS = st.one_of(
    st.builds(dist.Normal, FINITE, POSITIVE),
    st.builds(dist.Laplace, FINITE, POSITIVE),
    st.builds(dist.StudentT, POSITIVE, FINITE, POSITIVE),
    st.builds(lambda low, width: dist.Uniform(low, low + width), FINITE, POSITIVE),
    st.builds(lambda scale: dist.HalfNormal(jnp.float32(scale)), POSITIVE),
    st.builds(lambda loc: dist.TruncatedNormal(loc, 1.0, low=-11.0), FINITE),
)
LIKELIHOODS = st.one_of(
    st.builds(po.likelihoods.Normal, POSITIVE),
    st.builds(po.likelihoods.Normal, st.builds(dist.HalfCauchy, POSITIVE)),
    st.builds(po.likelihoods.StudentT, st.floats(2.5, 10), POSITIVE),
    st.just(po.likelihoods.Poisson()),
    st.just(po.likelihoods.Bernoulli()),
)


@st.composite
def models(draw: Any) -> po.Model:
    activation = draw(st.sampled_from([jnp.tanh, jax.nn.relu, jax.nn.gelu]))
    hidden = draw(st.lists(st.integers(1, 3), max_size=2))
    net = po.nets.MLP(1, hidden, 1, activation=activation, use_bias=draw(st.booleans()))
    rules = {"*.weight": draw(DISTRIBUTIONS), "*": draw(DISTRIBUTIONS)}
    return po.Model(net, rules if net.use_bias else rules["*"], draw(LIKELIHOODS))


def posteriors(target: Any, rng: np.random.Generator) -> list[Any]:
    size = target.size

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(0.1, 1, shape), jnp.float32)

    normal = Gaussian(array(size), array(size))
    rank = LowRank(array(size), array(size), array(size, 2))
    return [
        normal,
        FullRank(array(size), jnp.tril(array(size, size))),
        rank,
        Mixture.of([0.25, 0.75], [normal, normal]),
        Mixture.of([0.5, 0.5], [rank, rank]),
        draws_of(array(2, 3, size)),
    ]


@settings(FEW, max_examples=12)
@given(model=models(), seed=st.integers(0, 99))
def test_random_models_come_back_to_the_bit(model, seed, tmp_path):
    from posterity.model.net_target import Target

    rng = np.random.default_rng(seed)
    target = Target.build(model, (1,), (), 10)
    q = posteriors(target, rng)[seed % 6]
    posterior = posterior_of(model, q, numbers=(1, 2.5, float("inf")), names=["a"])
    loaded = po.load(posterior.save(tmp_path / "r"))
    same = jax.tree.map(
        lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(),
        (q, model.prior, model.likelihood),
        (loaded.distribution, loaded.target.prior, loaded.target.likelihood),
    )
    assert all(jax.tree.leaves(same))
    assert loaded.settings == posterior.settings
    described = [Encoder().encode(p.target, "target") for p in (loaded, posterior)]
    assert described[0] == described[1]


@FEW
@given(value=JSON)
def test_plain_values_come_back(value):
    encoder = Encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = json.loads(json.dumps(encoder.encode(value, "x"), allow_nan=False))
    assert repr(Decoder(encoder.tensors).decode(data, "x")) == repr(value)
