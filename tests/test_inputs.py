"""What a row is: arrays, tuples and dictionaries, described, checked and put right by name."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import posterity as po
from posterity.data.batches import as_batches
from posterity.inputs import InputSpec, Leaf, as_inputs, as_table, padded, read, row_count, take
from posterity.model.indexing import trace
from posterity.nets.adapters import as_net

FRAME = pd.DataFrame({"a": [1.0, 2, 3], "b": [4.0, 5, 6]})
TABLE = jnp.arange(7.0)[:, None]
NAMED = InputSpec((Leaf("", (2,), "float", ("a", "b")),))


def spec_of(x: Any) -> InputSpec:
    return read(x).spec


def test_one_array_is_an_array_and_several_keep_their_structure() -> None:
    one = as_inputs([[1, 2], [3, 4]])
    assert isinstance(one, np.ndarray)
    assert one.dtype == np.float32
    two = as_inputs((np.ones((2, 3)), np.zeros(2)))
    assert isinstance(two, tuple)
    assert [part.shape for part in two] == [(2, 3), (2,)]
    named = as_inputs({"b": np.ones((2, 1)), "a": np.zeros((2, 4, 4))})
    assert list(named) == ["a", "b"]
    assert jax.tree.structure(named) == jax.tree.structure(spec_of(named).shapes(2))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ((np.ones((3, 1)), np.ones((2, 1))), r"x\[1\]: it has 2 rows, but x\[0\] has 3\."),
        ({"b": np.ones(2), "a": np.ones(3)}, r"x\['b'\]: it has 2 rows, but x\['a'\] has 3\."),
        ({"a": [[1.0], [np.nan]]}, r"x\['a'\]\[1, 0\] = nan is not finite"),
        ((np.ones((2, 1)), [["u"], ["v"]]), r"x\[1\]\[0, 0\] = .*'u'.* is not a number"),
        ((1.0, 2.0), r"x\[0\]: .* got one number\. .* np\.asarray\(x\)"),
        ((), "x: it is empty; at least one array"),
        ((np.ones((0, 2)),), r"x\[0\]: it is empty, shape \(0, 2\)"),
        ({1: np.ones(2)}, "x: as a dictionary, its keys are names, not 1"),
        ({"a": {"b": np.ones(2)}}, r"x\['a'\]: expected an array, got a dictionary in a dict"),
        (np.ones(3), r"x: expected rows .* x\[:, None\]"),
    ],
)
def test_what_is_wrong_with_an_array_is_said_by_its_name(x: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        as_inputs(x)


@pytest.mark.parametrize("spare", [(), ("a",)])
def test_columns_in_another_order_are_put_right_by_name(spare: tuple[str, ...]) -> None:
    spec = spec_of(FRAME)
    assert spec == NAMED
    expected = FRAME.to_numpy()
    np.testing.assert_array_equal(as_inputs(FRAME[["b", "a"]], spec), expected)
    np.testing.assert_array_equal(as_inputs(expected, spec), expected)
    np.testing.assert_array_equal(
        as_inputs(FRAME[["b", "a"]], spec_of(expected)), expected[:, ::-1]
    )
    assert read(expected).matched(spec).columns == ("a", "b")
    wrong = FRAME.drop(columns=list(spare)).assign(c=0.0)
    said = "missing 'a'; unknown 'c'" if spare else "unknown 'c'"
    with pytest.raises(ValueError, match=f"x: its columns are not those of fit: {said}"):
        as_inputs(wrong, spec)
    with pytest.raises(ValueError, match=r"fitted to rows of shape \(2,\)"):
        as_inputs(np.ones((3, 3)), spec)


def test_names_that_nobody_gave_are_none_and_names_that_occur_twice_are_refused() -> None:
    assert spec_of(pd.DataFrame(np.ones((2, 2)))).without_numbers().columns is None
    with pytest.raises(ValueError, match=r"several of its columns are called 'a'.*x\.to_numpy"):
        spec_of(pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]))
    assert spec_of(pd.DataFrame(np.ones((2, 2)), columns=[2001, 2002])).columns == ("2001", "2002")
    inside = spec_of({"left": FRAME, "right": np.ones((3, 1))})
    assert [leaf.columns for leaf in inside.leaves] == [("a", "b"), None]


def test_polars_frames_are_frames() -> None:
    polars = pytest.importorskip("polars")
    given = polars.DataFrame({"b": [4.0, 5, 6], "a": [1.0, 2, 3]})
    np.testing.assert_array_equal(as_inputs(given, NAMED), FRAME.to_numpy())


@pytest.mark.parametrize("as_float", [False, True])
def test_indices_are_exact_and_what_is_no_index_is_refused(as_float: bool) -> None:
    spec = InputSpec((Leaf("", (1,), "int32"),))
    large = np.array([[2**24 + 1], [2**31 - 1]])
    found = as_inputs(large.astype(float) if as_float else large, spec)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, large)
    for bad, words in (
        ([[0], [2**31]], r"x\[1, 0\] = 2147483648(\.0)? is out of the range of int32"),
        ([[0.0], [0.5]], r"x\[1, 0\] = 0\.5 is no whole number"),
        ([[np.nan], [0.0]], r"x\[0, 0\] = nan is no whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            as_inputs(np.array(bad, float) if as_float else bad, spec)


def test_descriptions_are_plain_data_and_back() -> None:
    for given in ({"a": FRAME, "b": np.ones((3, 2), int)}, (np.ones((3, 4, 4)),), FRAME):
        spec = spec_of(given)
        assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
        assert hash(spec) == hash(spec_of(given))
    with pytest.raises(ValueError, match="is no description"):
        InputSpec.from_json({"structure": "list", "leaves": []})


def test_rows_are_taken_counted_and_padded_in_every_array() -> None:
    x = {"a": np.arange(3), "b": np.arange(6).reshape(3, 2)}
    assert row_count(x) == 3
    part = padded(take(x, slice(1, 3)), 4)
    np.testing.assert_array_equal(part["a"], [1, 2, 2, 2])
    np.testing.assert_array_equal(part["b"][:, 1], [3, 5, 5, 5])
    with pytest.raises(ValueError, match="needs the columns of one array, and a dictionary of"):
        as_table(x)


def test_batches_take_the_same_rows_of_every_array() -> None:
    x = {"i": np.arange(10), "j": 2.0 * np.arange(10)[:, None]}
    spec = spec_of(x)
    batches = as_batches((x, np.arange(10.0)), po.likelihoods.Normal(1.0), 4, inputs=spec)
    batch = batches.batch(batches.start(jax.random.key(0)), jnp.asarray(1))
    assert batch.x["i"].dtype == jnp.int32
    np.testing.assert_array_equal(batch.x["i"], batch.y)
    np.testing.assert_array_equal(batch.x["j"][:, 0], 2 * batch.y)


def _scan(w: Any, x: Any) -> Any:
    return jax.lax.scan(lambda sum, t: (sum + w[t], None), jnp.zeros((len(x), 1)), x.T)[0]


def _loop(w: Any, x: Any) -> Any:
    zero = jnp.zeros((len(x), 1))
    return jax.lax.fori_loop(0, 3, lambda i, sum: sum + w[x[:, i]], zero)


def _slice(w: Any, x: Any) -> Any:
    return jax.vmap(lambda i: jax.lax.dynamic_slice(w, (i[0], 0), (1, 1))[0])(x)


INDEXING = {
    "table": lambda w, x: w[x].sum(1),
    "take": lambda w, x: jnp.take(w, x, axis=0).sum(1),
    "shifted": lambda w, x: w[(x + 1) % 5].sum(1),
    "one-hot": lambda w, x: (jax.nn.one_hot(x, 7) @ w).sum(1),
    "compared": lambda w, x: ((x[..., None] == np.arange(7)).astype(float) @ w).sum(1),
    "converted": lambda w, x: w[x.astype(int)].sum(1),
    "jit": lambda w, x: jax.jit(lambda x: w[x])(x).sum(1),
    "remat": lambda w, x: jax.checkpoint(lambda w, x: w[x])(w, x).sum(1),
    "scan": _scan,
    "carried": lambda w, x: jax.lax.scan(lambda c, _: (c + 1, w[c].sum(1)), x, None, 2)[1].sum(0),
    "loop": _loop,
    "slice": _slice,
    "map": lambda w, x: jax.lax.map(lambda t: w[t].sum(0), x),
}
NUMBERS = {
    "dense": lambda w, x: x @ jnp.ones((3, 7)) @ w,
    "mask": lambda w, x: (x != 0) @ jnp.ones((3, 7)) @ w,
    "largest": lambda w, x: w[jnp.argmax(x, 1)],
    "convolution": lambda w, x: jax.lax.conv(x[:, None], w[None, None, :3, 0], (1,), "VALID")[:, 0],
}


def types(function: Any, x: Any) -> tuple[str, ...]:
    net = as_net((lambda key: TABLE, function))
    return trace(net, jax.ShapeDtypeStruct(TABLE.shape, jnp.float32), spec_of(x)).inputs.dtypes


@pytest.mark.parametrize("name", [*INDEXING, *NUMBERS])
def test_integers_stay_integers_where_the_net_indexes_with_them(name: str) -> None:
    function = INDEXING.get(name) or NUMBERS[name]
    tokens = np.zeros((4, 3), np.uint8)
    assert types(function, tokens) == ("int32" if name in INDEXING else "float",)
    if name not in ("one-hot", "compared", "converted"):  # which take floats as they are
        expected = "int32" if name in INDEXING else "float"
        assert types(function, tokens * 1.0) == (expected,)


def test_each_of_several_arrays_has_its_own_type() -> None:
    x = {"token": np.zeros(4, int), "pixels": np.zeros((4, 7), np.uint8)}
    assert types(lambda w, x: w[x["token"]] + x["pixels"] @ w, x) == ("float", "int32")


def test_a_net_that_takes_the_rows_in_no_type_is_refused_by_shape() -> None:
    for x in (np.zeros((4, 3)), np.zeros((4, 3), int)):
        with pytest.raises(ValueError, match=r"shape \(3,\): .* have 2 numbers .*\(3,\)\. Check"):
            trace(*_mlp(), spec_of(x))


def test_a_net_that_refuses_without_a_word_is_named_by_its_error() -> None:
    def refuse(params: Any, x: Any) -> Any:
        raise AssertionError

    net, template = as_net((lambda key: {"w": jnp.zeros(1)}, refuse)), {"w": jnp.zeros(1)}
    with pytest.raises(ValueError, match=r"rows of shape \(3,\): AssertionError\. Check"):
        trace(net, template, spec_of(np.zeros((4, 3))))


def _mlp() -> tuple[Any, Any]:
    net = po.nets.MLP(2, [3], 1)
    return net, jax.eval_shape(net.init, jax.random.key(0))


def test_a_fit_to_a_frame_keeps_names_through_update_and_file(tmp_path: Any) -> None:
    model = po.Model(po.nets.MLP(2, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    y = frame["a"].to_numpy() - 2 * frame["b"].to_numpy()
    turned = frame[["b", "a"]]
    posterior = po.fit(model, (frame, y), po.ADVI(steps=300, starts=1), progress=False)
    expected = posterior.predict(frame.to_numpy()).mean
    np.testing.assert_array_equal(posterior.predict(turned).mean, expected)
    np.testing.assert_array_equal(posterior.whole((turned, y)).x, posterior.whole((frame, y)).x)
    with pytest.raises(ValueError, match=r"remember: its columns .* missing 'b'"):
        posterior.as_prior(remember=frame[["a"]])
    updated = posterior.update((turned, y), progress=False)
    assert updated.target.inputs.columns == ("a", "b")
    again = po.load(updated.save(tmp_path / "frame"))
    assert again.target.inputs == updated.target.inputs
    np.testing.assert_array_equal(again.predict(turned).mean, updated.predict(frame).mean)
    assert np.abs(again.predict(turned).mean - y).max() < 1
