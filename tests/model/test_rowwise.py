"""Rows are independent given the weights: nets that mix or lose them are refused at `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = X[:, 0]
KEY = jax.random.key(0)


def params(key, out=1):
    return {"a": jax.random.normal(key, (3, 5)), "b": jnp.zeros((5, out))}  # a head of zeros


def hidden(p, x):
    return jnp.tanh(x @ p["a"])


def net(function, out=1):
    return lambda key: params(key, out), lambda p, x: function(p, x)


def fit(given, likelihood=None, y=Y, x=X):
    model = po.Model(given, po.priors.Normal(), likelihood or po.likelihoods.Normal(0.1))
    return po.fit(model, (x, y), po.MAP(steps=2), progress=False)


MIXING = {
    "mean over rows": lambda p, x: (hidden(p, x) - hidden(p, x).mean(0)) @ p["b"],
    "a little of the mean": lambda p, x: (hidden(p, x) + 0.1 * hidden(p, x).mean(0)) @ p["b"],
    "batch statistics": lambda p, x: hidden(p, (x - x.mean(0)) / x.std(0)) @ p["b"],
    "reversed rows": lambda p, x: hidden(p, x)[::-1] @ p["b"],
    "shifted rows": lambda p, x: jnp.roll(hidden(p, x), 1, axis=0) @ p["b"],
    "row before": lambda p, x: hidden(p, jnp.cumsum(x, axis=0)) @ p["b"],
    "softmax over rows": lambda p, x: jax.nn.softmax(hidden(p, x), axis=0) @ p["b"],
    "sorted rows": lambda p, x: jnp.sort(hidden(p, x), axis=0) @ p["b"],
    "attention": lambda p, x: jax.nn.softmax(x @ x.T) @ hidden(p, x) @ p["b"],
    "number of the row": lambda p, x: (hidden(p, x) + jnp.arange(len(x))[:, None]) @ p["b"],
    "number of rows": lambda p, x: (hidden(p, x) * len(x)) @ p["b"],
    "largest": lambda p, x: hidden(p, x / jnp.abs(x).max()) @ p["b"],
}


@pytest.mark.parametrize("case", MIXING)
def test_nets_that_mix_rows_are_refused(case):
    with pytest.raises(ValueError, match=r"net: the outputs for a row change by .*jax\.vmap"):
        fit(net(MIXING[case]))


@pytest.mark.parametrize("activation", [jax.nn.softmax, lambda h: h - h.mean(-1, keepdims=True)])
def test_what_an_activation_mixes_does_not_depend_on_the_width(activation):
    with pytest.raises(ValueError, match="change by"):  # features first: the last axis is rows
        fit(po.nets.MLP(3, [5], 1, activation=activation))


LOST = {
    "squeeze": lambda p, x: (hidden(p, x) @ p["b"]).squeeze(),
    "squeeze of x": lambda p, x: hidden(p, x.squeeze()) @ p["b"],
}


@pytest.mark.parametrize("case", LOST)
def test_nets_that_lose_the_axis_of_a_single_row_are_refused(case):
    with pytest.raises(ValueError, match=r"for one row it gives outputs of shape .*squeeze\(-1\)"):
        fit(net(LOST[case]))


def test_a_net_of_so_many_rows_only_is_refused():
    with pytest.raises(ValueError, match=r"cannot take rows|not one row alone"):
        fit(net(lambda p, x: hidden(p, x) @ p["b"] + jnp.zeros((3, 1))))


ROWWISE = {
    "plain": lambda p, x: hidden(p, x) @ p["b"],
    "without an axis of outputs": lambda p, x: (hidden(p, x) @ p["b"])[:, 0],
    "squeeze of an axis": lambda p, x: (hidden(p, x) @ p["b"]).squeeze(-1),
    "layer norm": lambda p, x: jax.nn.standardize(hidden(p, x)) @ p["b"],
    "softmax over features": lambda p, x: jax.nn.softmax(hidden(p, x)) @ p["b"],
    "large": lambda p, x: 1e6 * hidden(p, x) @ p["b"],
    "roots of weights": lambda p, x: jnp.sqrt(x**2 @ p["a"] ** 2) @ p["b"],
    "not finite at random weights": lambda p, x: x @ jnp.log(p["a"] ** 2) @ p["b"],
}


@pytest.mark.parametrize("case", ROWWISE)
def test_nets_that_compute_each_row_by_itself_are_taken(case):
    assert np.isfinite(fit(net(ROWWISE[case])).predict(X[:1], draws=1).mean).all()


@pytest.mark.parametrize("rows", [X[:1], X[:2], np.ones((12, 3)), np.r_[np.ones((9, 3)), X[:3]]])
def test_few_rows_or_rows_alike_are_no_reason_to_refuse_and_none_to_take(rows):
    fit(net(ROWWISE["plain"]), x=rows, y=Y[: len(rows)])
    with pytest.raises(ValueError, match="change by"):
        fit(net(MIXING["mean over rows"]), x=rows, y=Y[: len(rows)])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_tried_too(dtype):
    fit(net(lambda p, x: ROWWISE["plain"](p, x).astype(dtype)))
    with pytest.raises(ValueError, match="change by"):
        fit(net(lambda p, x: MIXING["mean over rows"](p, x).astype(dtype)))


@pytest.mark.parametrize("width", [8, 300])
@pytest.mark.parametrize("shape", [(3, 3), (1, 3), (3, 1), (4,)])
def test_an_mlp_takes_rows_of_one_axis(width, shape):
    x = np.ones((12, *shape), np.float32)
    with pytest.raises(ValueError, match=r"MLP: its rows have 3 numbers along one axis") as error:
        fit(po.nets.MLP(3, [width], 1), x=x)
    assert ("x.reshape(len(x), -1)" in str(error.value)) == (len(shape) > 1)


OUTPUTS = {
    "integers": (lambda p, x: (hidden(p, x) @ p["b"]).astype(int), "outputs are int32"),
    "truth values": (lambda p, x: hidden(p, x) @ p["b"] > 0, "outputs are bool"),
    "a number": (lambda p, x: (hidden(p, x) @ p["b"]).sum(), r"outputs of shape \(\)"),
    "a pair": (lambda p, x: (hidden(p, x) @ p["b"],) * 2, "returns a tuple, not one array"),
    "names": (lambda p, x: {"loc": hidden(p, x) @ p["b"]}, "returns a dict, not one array"),
    "by columns": (lambda p, x: (hidden(p, x) @ p["b"]).T, "outputs of shape"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_are_one_array_of_floats_by_row(case):
    function, message = OUTPUTS[case]
    with pytest.raises(ValueError, match=message):
        fit(net(function))


def test_the_order_of_axes_of_several_targets_is_that_of_the_likelihood():
    likelihood = po.likelihoods.Normal(scale="net")
    y = X[:, :2]
    flat = lambda p, x: hidden(p, x) @ p["b"]
    fit(net(flat, 4), likelihood, y)
    fit(net(lambda p, x: flat(p, x).reshape(-1, 2, 2), 4), likelihood, y)
    three = X[:, :3]
    fit(net(lambda p, x: flat(p, x).reshape(-1, 2, 3), 6), likelihood, three)
    with pytest.raises(ValueError, match=r"\('rows', 3, 2\).*first outputs of the targets come"):
        fit(net(lambda p, x: flat(p, x).reshape(-1, 3, 2), 6), likelihood, three)
