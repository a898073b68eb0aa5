"""Files of format 1 are read to the bit. `version_1/make.py` wrote them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import posterity as po
from posterity.storage.encode import Encoder, left_to_give
from posterity.storage.file import Parts, read, write

FOLDER = Path(__file__).parent / "version_1"
NAMES = sorted(path.stem.removesuffix("-32") for path in FOLDER.glob("*-32.safetensors"))


def maker() -> Any:
    """The script that made the files, for the models that they do not describe."""
    spec = importlib.util.spec_from_file_location("make_version_1", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = maker()


def given(name: str) -> dict[str, Any]:
    """What a file does not describe."""
    if name == "program":
        return {"model": po.Model.from_numpyro(MAKE.program), "data": {"x": MAKE.X, "y": MAKE.Y}}
    return {"model": MAKE.OWN} if name == "own-net" else {}


def parts(name: str, bits: str = "32") -> Parts:
    return read(FOLDER / f"{name}-{bits}.safetensors", **given(name))


def expected(name: str, bits: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"expected-{name}-{bits}.npz") as file:
        return dict(file)


def check_same(name: str, bits: str, tolerance: float) -> None:
    """Arrays to the bit; what is computed from them up to the rounding of another processor."""
    found, known = parts(name, bits), expected(name, bits)
    leaves = jax.tree.leaves(found.distribution)
    assert len(leaves) == sum(key.startswith("leaf") for key in known)
    for number, leaf in enumerate(leaves):
        np.testing.assert_array_equal(leaf, known[f"leaf {number}"])
        assert leaf.dtype == known[f"leaf {number}"].dtype
    theta = np.asarray(found.distribution.sample(jax.random.key(0), 5))
    np.testing.assert_allclose(theta, known["theta"], rtol=tolerance, atol=tolerance)
    log_prior = found.target.log_prior(known["theta"][0, 0])
    np.testing.assert_allclose(log_prior, known["log_prior"], rtol=10 * tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_what_it_held(name: str) -> None:
    if name == "flow":
        pytest.importorskip("flowjax")
    check_same(name, "32", 1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "flow"])
def test_so_do_files_in_double_precision(name: str) -> None:
    with jax.enable_x64(True):
        check_same(name, "64", 1e-14)


@pytest.mark.parametrize("name", ["nuts", "map", "joint-mixture", "cnn"])
def test_it_predicts_what_it_predicted(name: str) -> None:
    posterior = po.load(FOLDER / f"{name}-32.safetensors", **given(name))
    found = posterior.predict(MAKE.rows(posterior.target.inputs.shape), draws=5).mean
    np.testing.assert_allclose(found, expected(name, "32")["mean"], rtol=1e-5, atol=1e-6)


def test_what_was_found_is_parted_from_what_was_asked() -> None:
    found = parts("learned")
    assert set(found.facts) == {"learned", "estimators", "steps_made", "seconds"}
    assert found.facts["steps_made"] == found.settings["steps"] == 4
    assert set(found.facts["learned"]) == {"prior.*.scale", "likelihood.scale"}


def test_the_temperature_of_a_variational_fit_was_the_weight_of_its_kl() -> None:
    advi = parts("tempered-advi")
    assert advi.settings["kl_weight"] == advi.target.kl_weight == 0.5
    assert "temperature" not in advi.settings
    sgld = parts("tempered-sgld")
    assert sgld.settings["temperature"] == 0.5
    assert sgld.target.kl_weight == 1


def test_numbers_learned_by_the_likelihood_were_texts() -> None:
    found = parts("learned")
    learned = found.facts["learned"]["likelihood.scale"]
    assert float(found.target.likelihood.scale) == pytest.approx(learned, rel=1e-7)


@pytest.mark.parametrize("bits", ["32", "64"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "flow"])
def test_every_kind_is_written_again_and_read_to_the_bit(name: str, bits: str, tmp_path) -> None:
    with jax.enable_x64(bits == "64"):
        before = parts(name, bits)
        path = write(tmp_path / "again", *before)
        after = read(path, **given(name))
        assert described(after) == described(before)
        for one, other in zip(leaves_of(before), leaves_of(after), strict=True):
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()
        assert (after.settings, after.facts) == (before.settings, before.facts)
        assert (after.result, after.history.fields.keys()) == (
            before.result,
            before.history.fields.keys(),
        )


def described(found: Parts) -> Any:
    return Encoder(otherwise=left_to_give).encode(found.target, "target")


def leaves_of(found: Parts) -> list[np.ndarray]:
    """All arrays of the distribution and of the target's parts."""
    encoder = Encoder(otherwise=left_to_give)
    encoder.encode((found.distribution, found.target), "all")
    return [np.asarray(array) for array in encoder.tensors.values()]
