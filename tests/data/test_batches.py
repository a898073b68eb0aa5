"""Batches: every pass uses every row once, streams go on, permutations are uniform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import posterity as po
from oracles import FAILURE_RATE, z_limit
from posterity.data import batches as module
from posterity.data.batches import as_batches, permutation

REAL = po.likelihoods.Normal(1.0)


def numbered(rows, batch_size):
    """Data whose target is the row's number and whose input is ten times that."""
    y = np.arange(rows, dtype=np.float32)
    return as_batches((10 * y[:, None], y), REAL, batch_size)


def stream(batches, key, steps, chunk):
    """The first `steps` batches, advanced up to `chunk` at a time."""

    @jax.jit
    def part(order, count):
        rows = jax.vmap(lambda i: batches.batch(order, i))(jnp.arange(chunk))
        return rows, batches.advance(key, order, count)

    order = jax.jit(lambda key: batches.start(key))(key)
    x, y = [], []
    while len(y) < steps:
        count = min(chunk, steps - len(y), int(batches.left(order)))
        rows, order = part(order, count)
        x += list(np.asarray(rows.x)[:count])
        y += list(np.asarray(rows.y)[:count])
    return np.stack(x), np.stack(y)


@pytest.mark.parametrize("ahead", [1, 64])
@pytest.mark.parametrize(("rows", "size"), [(12, 4), (10, 3), (7, 5), (5, 1), (6, 5), (13, 12)])
def test_every_pass_uses_every_row_exactly_once(monkeypatch, rows, size, ahead):
    monkeypatch.setattr(module, "ROWS_AHEAD", ahead)
    passes = 20
    steps = -(-passes * rows // size)
    x, y = stream(numbered(rows, size), jax.random.key(3), steps, chunk=7)
    assert y.shape == (steps, size)
    np.testing.assert_array_equal(x[..., 0], 10 * y)  # inputs and targets stay together
    flat = y.ravel()[: passes * rows].reshape(passes, rows)
    np.testing.assert_array_equal(np.sort(flat, axis=1), np.tile(np.arange(rows), (passes, 1)))
    if rows >= 10:  # two of 20 passes agree with a chance of 5e-5 at most
        assert len({tuple(one) for one in flat.tolist()}) == passes


@pytest.mark.parametrize("rows", [10, 4_000])
def test_how_the_stream_is_advanced_does_not_matter(rows):
    batches, key = numbered(rows, 3 if rows == 10 else 1_500), jax.random.key(1)
    steps = 6_000 if rows == 10 else 40  # beyond ROWS_AHEAD in both
    one = stream(batches, key, steps, chunk=1_000)[1]
    other = stream(batches, key, steps, chunk=777 if rows == 10 else 1)[1]
    np.testing.assert_array_equal(one, other)
    assert steps * batches.batch_size > module.ROWS_AHEAD
    another = stream(batches, jax.random.key(2), 4, chunk=4)[1]
    assert not np.array_equal(one[:4], another)


@pytest.mark.parametrize("replacement", [False, True])
def test_in_double_precision_the_stream_is_the_same(replacement):
    y = np.arange(11.0)
    streams = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            batches = as_batches((y[:, None], y), REAL, 4, replacement=replacement)
            streams.append(stream(batches, jax.random.key(2), 5_000, chunk=500)[1])
    assert streams[1].dtype == np.float64
    np.testing.assert_array_equal(*streams)


def test_with_replacement_every_row_is_equally_likely_and_the_spare_room_never_drawn():
    y = np.arange(10, dtype=np.float32)  # the spare room is zeros: too many of row 0 would show
    batches = as_batches((y[:, None], y), REAL, 4, replacement=True)
    drawn = stream(batches, jax.random.key(4), 5_000, chunk=500)[1]
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, y)
    assert stats.chisquare(counts).pvalue > FAILURE_RATE


def test_the_full_batch_is_all_rows_in_order():
    for batch_size in (None, 8):
        batches = numbered(8, batch_size)
        order = batches.start(jax.random.key(0))
        batch = batches.batch(batches.advance(jax.random.key(0), order, 5), 3)
        np.testing.assert_array_equal(batch.y[:8], np.arange(8))
        assert len(batch.y) == (16 if batch_size is None else 8)


def test_rows_that_fill_the_room_are_copies_of_the_last_and_count_for_nothing():
    batches = numbered(11, None)
    batch = batches.batch(batches.start(jax.random.key(0)), 0)
    np.testing.assert_array_equal(batch.y, [*range(11), *[10] * 5])
    np.testing.assert_array_equal(batch.x[:, 0], 10 * np.asarray(batch.y))
    np.testing.assert_array_equal(batch.masked(batch.y + 1), [*range(1, 12), *[0] * 5])
    # Where the last row is impossible, so are its copies: the sum is −∞ and not NaN.
    np.testing.assert_array_equal(batch.masked(jnp.full(16, -jnp.inf))[11:], np.zeros(5))
    np.testing.assert_array_equal(batches.full.y, np.arange(11))
    assert numbered(11, 11).full.y.shape == (11,)  # who asks for all rows finds no others


def test_columns_are_the_same_rows():
    x = np.arange(12.0).reshape(4, 3)
    by_columns = as_batches((x, x[:, 0]), REAL, None, features_first=True)
    assert by_columns.columns
    np.testing.assert_array_equal(by_columns.full.x, x)
    assert by_columns.rows == 4


@pytest.mark.parametrize("n", [1, 2, 3, 500, 60_000, 2**20 + 1])
def test_a_permutation_holds_every_number_once(n):
    found = np.asarray(jax.jit(permutation, static_argnums=1)(jax.random.key(5), n))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(np.sort(found), np.arange(n))


@pytest.mark.parametrize(("room", "rows"), [(8, 5), (512, 433), (4, 4), (61_440, 60_000)])
def test_a_permutation_with_room_to_spare_is_one_of_the_rows(room, rows):
    found = np.asarray(jax.jit(permutation, static_argnums=1)(jax.random.key(5), room, rows))
    np.testing.assert_array_equal(np.sort(found[:rows]), np.arange(rows))
    np.testing.assert_array_equal(found[rows:], np.arange(rows, room))
    assert rows < 9 or (np.diff(found[:rows]) < 0).mean() > 0.4


@pytest.mark.parametrize(
    ("rows", "room"),
    [(1, 1), (5, 8), (512, 512), (8_192, 8_192), (60_000, 61_440), (2**20 + 1,) * 2],
)
def test_the_room_of_so_many_rows(rows, room):
    assert module.room_for(rows) == room
    assert numbered(rows, 1).full.y.shape == (rows,)


def test_the_room_is_at_most_an_eighth_more_than_the_rows_where_each_step_pays_for_it():
    for rows in (*range(1, 3_000), 60_000, 2**20 + 1):
        room = module.room_for(rows, spare=0)
        assert rows <= room <= max(rows + 15, rows * 9 / 8)
        assert room % 16 == 0


@pytest.mark.parametrize(("spare", "room"), [(0, 320), (211, 320), (212, 512), (np.inf, 512)])
def test_the_room_is_a_power_of_two_where_a_run_is_short(spare, room):
    assert module.room_for(300, spare=spare) == room


@pytest.mark.parametrize("n", [2, 3])
def test_small_permutations_are_equally_likely(n):
    keys = jax.random.split(jax.random.key(7), 6_000)
    found = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, n)))(keys))
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert counts.size == {2: 2, 3: 6}[n]
    assert stats.chisquare(counts).pvalue > FAILURE_RATE


@pytest.mark.parametrize("n", [500, 60_000])
def test_large_permutations_send_every_region_everywhere(n):
    # A 10 × 10 table of (where from, where to) has fixed margins: χ² with 81 degrees of freedom.
    keys = jax.random.split(jax.random.key(8), 20 if n == 500 else 2)
    found = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, n)))(keys))
    table = np.zeros((10, 10))
    start = np.tile(np.arange(n) * 10 // n, len(found))
    np.add.at(table, (start, (found.ravel() * 10) // n), 1)
    expected = table.sum() / 100
    statistic = ((table - expected) ** 2 / expected).sum()
    assert stats.chi2(81).sf(statistic) > FAILURE_RATE
    # Numbers that tie in the random bits would keep their order: ascents would be too many.
    ascents = (np.diff(found, axis=1) > 0).sum()
    mean, var = (n - 1) / 2 * len(found), (n + 1) / 12 * len(found)
    assert abs(ascents - mean) < z_limit() * np.sqrt(var)


BASE = np.array([[1, 0, 2], [0, 1, 1], [3, 1, 0], [2, 2, 1]], np.float64)
FORMS = {
    "float64": BASE,
    "float32": BASE.astype(np.float32),
    "int64": BASE.astype(np.int64),
    "uint8": BASE.astype(np.uint8),
    "fortran": np.asfortranarray(BASE),
    "strided": np.repeat(BASE, 2, axis=0)[::2],
    "reversed": BASE[::-1][::-1],
    "object": BASE.astype(object),
    "jax": jnp.asarray(BASE),
    "pandas": pd.DataFrame(BASE, columns=list("abc")),
    "mixed pandas": pd.DataFrame(BASE, columns=list("abc")).astype({"a": "int32"}),
    "nullable pandas": pd.DataFrame(BASE).astype("Int64"),
    "lists": BASE.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_numbers_is_the_same_data(form):
    x = FORMS[form]
    last = FORMS[form].iloc[:, 2] if "pandas" in form else np.asarray(x)[:, 2]
    batches = as_batches((x, last), REAL, 2)
    assert batches.x.dtype == batches.y.dtype == jnp.float32
    np.testing.assert_array_equal(batches.full.x, BASE)
    np.testing.assert_array_equal(batches.full.y, BASE[:, 2])


@pytest.mark.parametrize("cast", [bool, np.int8, float, object, "pandas"])
def test_labels_of_every_dtype_are_the_same_labels(cast):
    y = np.array([0, 1, 1, 0])
    given = pd.Series(y).astype(bool) if cast == "pandas" else y.astype(cast)
    for likelihood, dtype in (
        (po.likelihoods.Bernoulli(), jnp.float32),
        (po.likelihoods.Categorical(2), jnp.int32),
    ):
        found = as_batches((BASE, given), likelihood, None).full.y
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, y)


@pytest.mark.parametrize("size", [0, -1, 5, 2.0, 1.5, "2"])
def test_batch_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match="batch_size: must be a whole number from 1 to the 4 rows"):
        as_batches((BASE, BASE[:, 0]), REAL, size)


@pytest.mark.parametrize("data", [BASE, (BASE,), (BASE, BASE[:, 0], 1), {"x": BASE}, None])
def test_data_that_are_no_pair_are_refused(data):
    with pytest.raises(TypeError, match=r"data: expected a pair \(x, y\)"):
        as_batches(data, REAL, None)


def test_data_are_not_changed_and_not_shared():
    x, y = BASE.astype(np.float32), BASE[:, 0].astype(np.float32)
    batches = as_batches((x, y), REAL, None)
    x[:], y[:] = -1, -1
    np.testing.assert_array_equal(batches.full.x, BASE)
    np.testing.assert_array_equal(batches.full.y, BASE[:, 0])


def test_masked_values_are_refused():
    x = np.ma.masked_array(BASE, mask=BASE == 3)
    with pytest.raises((TypeError, ValueError), match="x"):
        as_batches((x, BASE[:, 0]), REAL, None)
