"""Files of format 1 are read to the bit. `version_1/make.py` wrote them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import posterity as po

FOLDER = Path(__file__).parent / "version_1"
BITS = "64" if jax.config.jax_enable_x64 else "32"
NAMES = sorted(path.stem.removesuffix("-32") for path in FOLDER.glob("*-32.safetensors"))
WEIGHTED = {"mean-field", "full-rank", "low-rank", "flow", "mixture"}


def maker():
    """The script that made the files, for the models that they do not describe."""
    spec = importlib.util.spec_from_file_location("make_version_1", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = maker()


def loaded(name: str) -> po.Posterior:
    path = FOLDER / f"{name}-{BITS}.safetensors"
    if name == "program":
        model = po.Model.from_numpyro(MAKE.program)
        return po.load(path, model=model, data={"x": MAKE.X, "y": MAKE.Y})
    return po.load(path, model=MAKE.OWN if name == "own-net" else None)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_it_gave(name: str) -> None:
    if name == "flow":
        pytest.importorskip("flowjax")
    posterior = loaded(name)
    with np.load(FOLDER / f"expected-{name}-{BITS}.npz") as file:
        expected = dict(file)
    theta = np.asarray(posterior.distribution.sample(jax.random.key(0), 5))
    np.testing.assert_array_equal(theta, expected["theta"])
    np.testing.assert_array_equal(posterior.target.log_prior(theta[0, 0]), expected["log_prior"])
    if name == "program":
        np.testing.assert_array_equal(posterior.weights("double"), expected["double"])
    else:
        found = posterior.predict(MAKE.rows(posterior), draws=5).mean
        np.testing.assert_array_equal(found, expected["mean"])


def test_what_was_found_is_parted_from_what_was_asked() -> None:
    from posterity.storage.file import read

    parts = read(FOLDER / f"learned-{BITS}.safetensors")
    assert set(parts.facts) == {"learned", "estimators", "steps_made", "seconds"}
    assert parts.facts["steps_made"] == parts.settings["steps"] == 4
    assert set(parts.facts["learned"]) == {"prior.*.scale", "likelihood.scale"}


def test_the_temperature_of_a_variational_fit_was_the_weight_of_its_kl() -> None:
    from posterity.storage.file import read

    advi = read(FOLDER / f"tempered-advi-{BITS}.safetensors")
    assert advi.settings["kl_weight"] == advi.target.kl_weight == 0.5
    assert "temperature" not in advi.settings
    sgld = read(FOLDER / f"tempered-sgld-{BITS}.safetensors")
    assert sgld.settings["temperature"] == 0.5
    assert sgld.target.kl_weight == 1


def test_numbers_learned_by_the_likelihood_were_texts() -> None:
    posterior = loaded("learned")
    assert float(posterior.target.likelihood.scale) == pytest.approx(
        posterior.learned["likelihood.scale"], rel=1e-7
    )


@pytest.mark.skipif(BITS == "64", reason="it runs this file in that precision")
def test_all_of_it_in_double_precision() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        command,
        env={**__import__("os").environ, "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
