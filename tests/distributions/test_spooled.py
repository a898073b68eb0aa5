"""Draws in a file give the same numbers as draws in memory, and are never all in memory."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, posterior_of
from posterity import memory
from posterity.diagnostics import monitored as watched
from posterity.distributions import draws as distributions
from posterity.distributions import named as columns
from posterity.distributions.draws import Draws
from posterity.distributions.spool import Spool, scratch, written
from posterity.predict import source
from posterity.storage import tensors

RNG = np.random.default_rng(0)
NOISE = po.likelihoods.Normal(scale=dist.HalfNormal(1.0))


def spooled(theta: np.ndarray, room: int = 0, folder: Path | None = None) -> Draws:
    """Draws (chain, draw, D) in a file that has `room` for more."""
    chains, count, size = theta.shape
    spool = Spool(folder, (chains, count + room, size), theta.dtype)
    for chain, draws in enumerate(theta):
        half = count // 2
        spool.write(chain, half, draws[half:])
        spool.write(chain, 0, draws[:half])
    return Draws(spool.array[:, :count])


def both(model: po.Model, draws: int = 157, room: int = 3, **kwargs: Any) -> list[po.Posterior]:
    """One posterior with its draws in memory, and in a file."""
    size = po.prior_predictive and posterior_size(model, **kwargs)
    theta = (0.3 * RNG.normal(size=(3, draws, size))).astype(np.float32)
    stats = {"log_joint": RNG.normal(size=(3, draws)).astype(np.float32)}
    return [
        posterior_of(model, given, history=stats, **kwargs)
        for given in (draws_of(theta), spooled(theta, room))
    ]


def posterior_size(model: po.Model, columns: int = 1, **_: Any) -> int:
    from posterity.model.net_target import Target

    return Target.build(model, (columns,), (), 10).size


MODELS = {
    "normal": po.Model(po.nets.MLP(1, [20, 20], 1, activation=jnp.tanh), po.priors.Normal(), NOISE),
    "bernoulli": po.Model(po.nets.MLP(1, [7], 1), po.priors.Normal(), po.likelihoods.Bernoulli()),
    "categorical": po.Model(
        po.nets.MLP(1, [90, 90], 3), po.priors.Normal(), po.likelihoods.Categorical(3)
    ),
    "positive weights": po.Model(
        po.nets.MLP(1, [4], 1),
        {"layers.0.weight": dist.HalfNormal(1.0), "*": dist.Normal(0, 1)},
        po.likelihoods.StudentT(4.0, 0.3),
    ),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and windows so small that there are many of each."""
    monkeypatch.setattr(source, "WINDOW", 20_000)
    monkeypatch.setattr(columns, "ROWS", 50)
    monkeypatch.setattr(watched, "AT_ONCE", 100_000)
    monkeypatch.setattr(distributions.in_blocks, "__defaults__", (30_000,))


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


CASES = [("normal", 1), ("normal", 300), ("bernoulli", 40), ("categorical", 40)]


@pytest.mark.parametrize(("name", "rows"), CASES)
def test_predictions_are_the_same_to_the_last_bit(name: str, rows: int) -> None:
    inside, outside = both(MODELS[name])
    x = np.linspace(-2, 2, rows)[:, None]
    for draws in (None, 500):
        one, other = (p.predict(x, draws=draws) for p in (inside, outside))
        for field in ("mean", "aleatoric", "epistemic", "sd"):
            assert_same(getattr(one, field), getattr(other, field))
        y = np.zeros(rows, int) if name in ("bernoulli", "categorical") else x[:, 0]
        assert_same(one.log_prob(y), other.log_prob(y))
        assert_same(one.raw(), other.raw())
        assert_same(one.raw(of="y"), other.raw(of="y"))
    assert_same(one.quantile(0.1), other.quantile(0.1))


def test_chunks_of_rows_and_windows_of_draws_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from posterity.predict import stream

    monkeypatch.setattr(stream, "ROWS", 30)
    inside, outside = both(MODELS["normal"])
    x = np.linspace(-2, 2, 77)[:, None]
    one, other = inside.predict(x), outside.predict(x)
    assert_same(one.mean, other.mean)
    assert_same(one.log_prob(x[:, 0]), other.log_prob(x[:, 0]))
    assert_same(one.quantile([0.1, 0.5]), other.quantile([0.1, 0.5]))
    assert_same(one.raw(of="y"), other.raw(of="y"))
    assert one.raw().shape == (3 * 157, 77)


@pytest.mark.parametrize("name", MODELS)
def test_everything_else_is_the_same_to_the_last_bit(name: str) -> None:
    inside, outside = both(MODELS[name])
    assert not inside.distribution.in_file
    assert outside.distribution.in_file
    assert_same(*(p.distribution.theta for p in (inside, outside)))
    for n in (1, 20, 471, 500, None):
        one, other = inside.sample(n), outside.sample(n)
        assert one.shape == other.shape
        assert_same(one, other)
    for one, other in zip(inside.distribution.mean_and_sd(), outside.distribution.mean_and_sd()):
        assert_same(one, other)
    assert str(inside.summary()) == str(outside.summary())
    for path in inside.target.paths:
        assert outside.weights(path).shape == (3, 157, *inside.weights(path).shape[2:])
        assert_same(inside.weights(path), outside.weights(path))
    x = np.linspace(-2, 2, 13)[:, None]
    assert inside.diagnose(x).to_json() == outside.diagnose(x).to_json()
    key = jax.random.key(0)
    assert_same(inside.distribution.draw(key, 5), outside.distribution.draw(key, 5))


def test_moments_are_those_of_the_draws() -> None:
    _, outside = both(MODELS["normal"])
    theta = np.asarray(outside.distribution.theta, np.float64)
    mean, sd = outside.distribution.mean_and_sd()
    np.testing.assert_allclose(mean, theta.mean((0, 1)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(sd, theta.std((0, 1)), rtol=1e-6)


def test_priors_are_the_same() -> None:
    inside, outside = both(MODELS["bernoulli"])
    for correlations in (None, "low-rank", "none"):
        one, other = (p.as_prior(correlations).density for p in (inside, outside))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
            assert_same(a, b)


def test_arviz_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("arviz")
    inside, outside = both(MODELS["positive weights"])
    monkeypatch.setattr(memory, "SHARE", 0.0)  # the values go to files, too
    one, other = inside.to_arviz(), outside.to_arviz()
    for path in inside.target.paths:
        assert_same(one["posterior"][path], other["posterior"][path])
    assert_same(one["sample_stats"]["lp"], other["sample_stats"]["lp"])


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 5])
def test_a_saved_posterior_is_the_same_file_and_stays_in_it(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = both(MODELS["normal"], room=room)
    one, other = inside.save(tmp_path / "one"), outside.save(tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()
    loaded = po.load(other)
    assert not loaded.distribution.in_file
    monkeypatch.setattr(memory, "SHARE", 0.0)
    mapped = po.load(other)
    assert mapped.distribution.in_file
    x = np.linspace(-1, 1, 9)[:, None]
    for posterior in (loaded, mapped):
        assert_same(posterior.distribution.theta, inside.distribution.theta)
        assert_same(posterior.predict(x).sd, inside.predict(x).sd)
        assert_same(posterior.history.log_joint, inside.history.log_joint)
    # Saved over its own file: the draws are still read from the old one, then from the new.
    again = mapped.save(other)
    assert_same(mapped.distribution.theta, inside.distribution.theta)
    assert again.read_bytes() == inside.save(one).read_bytes()  # how many draws is a fact now


def test_other_libraries_read_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    _, outside = both(MODELS["normal"])
    found = load_file(outside.save(tmp_path / "p"))
    assert_same(found["theta"], outside.distribution.theta)
    assert set(found) == {"theta", "history.log_joint"}


def test_arrays_of_every_dtype_and_shape_are_written(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    given = {
        name: RNG.normal(size=shape).astype(name)
        for name, shape in zip(tensors.DTYPES, [(3,), (2, 0), (1, 1, 5)] * 4)
    }
    path = tensors.write(tmp_path / "all.safetensors", given, {"a": "ß"})
    found = load_file(path)
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        assert_same(found[name], array)


@pytest.mark.parametrize("fault", ["altered", "not finite", "cut"])
def test_damaged_files_are_refused(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theta = RNG.normal(size=(2, 30, 22)).astype(np.float32)
    if fault == "not finite":
        theta[1, 20, 3] = np.nan
    path = posterior_of(MODELS["bernoulli"], spooled(theta)).save(tmp_path / "p")
    data = bytearray(path.read_bytes())
    if fault == "altered":
        data[-5] ^= 1
    path.write_bytes(data[:-4] if fault == "cut" else data)
    monkeypatch.setattr(memory, "SHARE", 0.0)
    message = {"altered": "checksum", "not finite": "not finite", "cut": "truncated"}[fault]
    with pytest.raises(ValueError, match=message):
        po.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, outside = both(MODELS["bernoulli"])
    path = outside.save(tmp_path / "p")
    before = path.read_bytes()

    def broken(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(tensors, "save_file", broken)
    with pytest.raises(OSError, match="gone"):
        outside.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_go_with_their_draws_and_others_stay(tmp_path: Path) -> None:
    theta = RNG.normal(size=(1, 4, 3)).astype(np.float32)
    temporary, named = spooled(theta), spooled(theta, folder=tmp_path)
    paths = Path(temporary.theta.filename), Path(named.theta.filename)
    if os.name == "posix":  # has no name from the first on, so that a killed process leaves none
        assert not paths[0].exists()
    mapped = temporary.theta
    del temporary, named
    gc.collect()
    assert [path.exists() for path in paths] == [False, True]
    assert_same(mapped, theta)
    assert_same(np.load(paths[1]), theta)
    array = scratch((3, 4), np.float32)
    array[:] = 1
    part = array[1:, 2:]
    del array
    gc.collect()
    assert part.sum() == 4


def test_no_file_is_written_over(tmp_path: Path) -> None:
    names = [Spool(tmp_path / "new", (1, 2, 3), np.float32).path.name for _ in range(3)]
    assert names == ["draws.npy", "draws-2.npy", "draws-3.npy"]


def test_a_folder_says_how_many_draws_of_each_chain_are_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, (2, 50, 3), np.float32)
    with pytest.raises(ValueError, match="of 2 of 2 chains no draw was written"):
        written(tmp_path)
    theta = RNG.normal(size=(2, 50, 3)).astype(np.float32)
    # In pieces, of which one comes before its time; some come twice.
    pieces = {(0, 0, 10): (10, 0), (1, 0, 7): (10, 7), (0, 20, 30): (10, 7), (1, 5, 25): (10, 25),
              (0, 10, 20): (30, 25), (1, 40, 50): (30, 25)}  # fmt: skip
    for (chain, start, stop), counts in pieces.items():
        spool.write(chain, start, theta[chain, start:stop])
        assert np.load(tmp_path / "draws.valid.npy").tolist() == list(counts)
    found = written(tmp_path)
    assert isinstance(found, np.memmap)
    assert_same(found, theta[:, :25])
    assert_same(written(tmp_path / "draws.npy"), found)
    spool.discard(useless=True)
    assert list(tmp_path.iterdir()) == []


def test_counts_of_another_file_are_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, (2, 5, 3), np.float32)
    for chain in range(2):
        spool.write(chain, 0, np.ones((5, 3), np.float32))
    for wrong in ([9, 9], [1], [-1, 2], [1.0, 2.0]):
        np.save(tmp_path / "draws.valid.npy", np.array(wrong))
        with pytest.raises(ValueError, match="does not say how many draws"):
            written(tmp_path)
    (tmp_path / "draws.valid.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*draws.valid.npy"):
        written(tmp_path)


KILLED = """
import os, signal, sys
import numpy as np, posterity as po
x = np.linspace(-1, 1, 20)[:, None]
model = po.Model(po.nets.MLP(1, [2], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
def look(posterior):
    if posterior.facts["steps_made"] > 150:
        os.kill(os.getpid(), signal.SIGKILL)
sgld = po.SGLD(draws=100_000, step_size=1e-4, chains=2, warmup=100)
po.fit(model, (x, x[:, 0]), sgld, spool=sys.argv[1], progress=False, every=50, call=look)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_run_leaves_its_draws_and_nothing_that_was_not_drawn(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode < 0
    theta = written(tmp_path)
    assert theta.shape[0::2] == (2, 7)
    assert 50 <= theta.shape[1] < 100_000
    assert (np.asarray(theta) != 0).all()
    assert not np.load(tmp_path / "draws.npy", mmap_mode="r")[:, -1].any()


# -- memory ---------------------------------------------------------------------------------------

PEAK = """
import pathlib, re, sys, tempfile, threading, time
import numpy as np
from handmade import posterior_of
from posterity.distributions.spool import Spool
from posterity.distributions.draws import Draws
import posterity as po
top = 0
def watch():
    # Of its own: pages of a mapped file are the kernel's, which takes them where it needs them.
    global top
    while True:
        status = pathlib.Path("/proc/self/status").read_text()
        top = max(top, int(re.search(r"RssAnon:\\s*(\\d+)", status).group(1)))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
model = po.Model(po.nets.MLP(1, [98, 98], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
size, draws = 98 * 2 + 98 * 99 + 99, int(sys.argv[1])
spool = Spool(None, (4, draws, size), np.float32)
for chain in range(4):
    for at in range(draws):
        spool.write(chain, at, np.full((1, size), 0.01 * (chain + at % 7), np.float32))
posterior = posterior_of(model, Draws(spool.array))
x = np.ones((20, 1))
posterior.predict(x).quantile(0.5)
posterior.summary(), posterior.diagnose(x), posterior.weights("layers.0.bias")
posterior.save(tempfile.mkdtemp() + "/p")
print(top)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_memory_does_not_grow_with_the_draws_in_a_file(pytestconfig: Any) -> None:
    def peak(draws: int) -> float:
        command = [sys.executable, "-c", PEAK, str(draws)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=pytestconfig.rootpath / "tests"
        )
        return int(re.findall(r"\d+", done.stdout)[-1]) / 1_000

    few, many = peak(250), peak(1_900)
    # 300 MB of draws for 40 MB: one copy of them would be 260 MB more. On a busy machine peaks of
    # the same run differ by some 90 MB.
    assert many - few < 130
