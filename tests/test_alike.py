"""Functions that are made anew but are the same share what was compiled; all others do not."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import posterity as po
from compilations import Compilations
from posterity import alike as module
from posterity.alike import alike
from posterity.cpu import compile as compiling

FACTOR = 2.0
TABLE = [1.0]


def made(width: Any, shift: Any = 0.0) -> Any:
    def apply(params: Any, x: Any) -> Any:
        inner = lambda h: jnp.tanh(h) * width
        return inner(x @ params["w"]) + shift

    return apply


def same(first: Any, second: Any) -> bool:
    return alike(first) is alike(second)


ARRAY = jnp.ones(3)
ALIKE = {
    "a number": lambda: made(2.0),
    "a jax array": lambda: made(ARRAY),
    "a function of this kind": lambda: made(2.0, lambda x: x + 1),
    "a partial": lambda: made(functools.partial(jnp.sum, axis=0)),
    "a package's function": lambda: made(jax.nn.relu),
    "a global number": lambda: lambda x: FACTOR * x,
    "defaults": lambda: lambda x, scale=(1, "a", None): x,
}


@pytest.mark.parametrize("name", ALIKE)
def test_functions_of_the_same_code_and_values_are_alike(name: str) -> None:
    first, second = ALIKE[name](), ALIKE[name]()
    assert first is not second
    assert same(first, second)


def test_what_differs_or_may_change_is_not_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not same(made(2.0), made(3.0))
    assert not same(made(2.0), made(2))
    assert not same(made(0.0), made(-0.0))
    assert not same(made(True), made(1))
    assert not same(made(jnp.ones(3)), made(jnp.ones(3)))
    assert not same(made([1.0]), made([1.0]))  # a list may change
    assert not same(lambda x: x + 1, lambda x: x + 2)
    assert not same(*((lambda x: TABLE[0] * x) for _ in range(2)))

    def scaled() -> Any:
        return lambda x: FACTOR * x

    before = alike(scaled())
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert alike(scaled()) is not before


def test_an_array_that_was_written_to_is_another() -> None:
    given = np.ones(3)
    first = alike(made(given))
    assert alike(made(given)) is first
    given[0] = 2.0
    assert alike(made(given)) is not first


def test_stored_functions_and_those_of_packages_stay_what_they_are() -> None:
    plain, kept = (lambda x: x * 1.25 for _ in range(2))
    po.stored("test_alike.kept")(kept)
    alike(plain)
    assert alike(kept) is kept
    assert alike(jax.nn.relu) is jax.nn.relu


class Holder(eqx.Module):
    weight: jax.Array
    function: Any
    parts: dict[str, Any]
    fixed: Any = eqx.field(static=True)


def test_functions_are_found_inside_modules_tuples_and_dictionaries() -> None:
    def build() -> Holder:
        return Holder(ARRAY, lambda x: x, {"a": (lambda x: 2 * x, 3)}, lambda x: 3 * x)

    first, second = alike(build()), alike(build())
    assert first.function is second.function
    assert first.parts["a"][0] is second.parts["a"][0]
    assert first.fixed is second.fixed
    plain = po.nets.MLP(1, [2], 1)
    assert alike(plain) is plain


def test_equal_optimisers_are_alike() -> None:
    def build(rate: float) -> Any:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    assert alike(build(0.1)) == alike(build(0.1))
    assert alike(build(0.1)) != alike(build(0.2))


def test_no_more_than_so_many_functions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(10):
        alike(made(float(number)))
    assert len(module._first) == 3


# -- fits -----------------------------------------------------------------------------------------

X = np.linspace(-1, 1, 20)[:, None].astype(np.float32)


def fitted(slope: float = 2.0) -> po.Posterior:
    """A fit with nothing in it that was there before."""
    apply = lambda params, x: x @ params["w"] * slope
    net = (lambda key: {"w": jax.random.normal(key, (1, 1))}), apply
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.5))
    method = po.MAP(steps=20, optimizer=optax.adam(0.05))
    return po.fit(model, (X, 2 * X[:, 0]), method, progress=False)


def test_a_fit_with_new_lambdas_compiles_nothing_new() -> None:
    first = fitted()
    first.predict(X)
    with Compilations() as made:
        second = fitted()
        second.predict(X)
    assert not made.names
    np.testing.assert_array_equal(first.sample(), second.sample())
    # Another number in a closure is another net.
    assert abs(float(fitted(4.0).weights("w").mean()) - float(first.weights("w").mean())) > 0.01


def test_only_the_compiled_forms_used_last_are_kept() -> None:
    traced = []

    def double(x: Any) -> Any:
        traced.append(x.shape)
        return 2 * x

    forms = compiling.kept_jit(double, most=2)
    for rows in (1, 2, 1, 3, 1, 2):
        np.testing.assert_array_equal(forms(np.ones(rows)), np.full(rows, 2.0))
    # That of 2 rows went when 3 came, and that of 3 when 2 came again.
    assert traced == [(1,), (2,), (3,), (2,)]
    assert len(forms) == 2
    with jax.enable_x64(True):
        assert forms(np.ones(1)).dtype == np.float64
    assert forms(np.ones(2)).dtype == np.float32
