"""The house rules that a machine can check: light imports, a small core, no pickle, no network."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import FunctionType

import pytest

import posterity

SOURCE = Path(__file__).parents[1] / "src" / "posterity"

CORE_ONLY = """
import importlib.util, sys
allowed = set(sys.argv[1].split(","))

class OnlyCore:
    # Refuses every top-level module that no core distribution brings.
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if path is None and top in REFUSED:
            raise ModuleNotFoundError(f"{top} is not in the core", name=top)
        return None

from importlib import metadata
REFUSED = {
    top
    for top, owners in metadata.packages_distributions().items()
    if not {owner.lower().replace("_", "-") for owner in owners} & allowed
}
sys.meta_path.insert(0, OnlyCore())

import os, tempfile
import numpy as np, posterity as po
x = np.linspace(-1, 1, 20)[:, None]
model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
for method in (po.ADVI(steps=20), po.MAP(steps=20), po.NUTS(chains=2, warmup=20, draws=4),
               po.SGLD(draws=5, step_size=1e-4)):
    posterior = po.fit(model, (x, x[:, 0]), method, progress=True)
    loaded = po.load(posterior.save(os.path.join(tempfile.mkdtemp(), "p")))
    assert np.isfinite(loaded.predict(x).interval(0.9)[0]).all()
for extra, use in (("plots", lambda: po.plots.elbo(posterior)), ("arviz", posterior.to_arviz)):
    try:
        use()
    except ImportError as error:
        assert f"posterity[{extra}]" in str(error), error
    else:
        raise AssertionError(f"{extra} is in the core")
print("core only")
"""


def core_closure() -> set[str]:
    """The distributions that come with the core: its requirements and theirs, without extras."""
    found: set[str] = set()
    waiting = ["posterity"]
    while waiting:
        name = re.sub(r"[_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform or Python
        found.add(name)
        waiting += [re.split(r"[\s;<>=!~\[(]", r)[0] for r in requires if "extra ==" not in r]
    return found


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_core_works_with_only_the_core_installed() -> None:
    done = python(CORE_ONLY, ",".join(core_closure()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("core only")


@pytest.mark.parametrize("module", ["posterity", "posterity.cli"])
def test_import_is_light_and_offline(module: str) -> None:
    code = f"""
import socket, sys
def refuse(*a, **k): raise AssertionError("network at import")
socket.socket.connect = refuse
import {module}
heavy = {{"jax", "numpy", "numpyro", "pandas", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    import posterity as po

    for name in po.__all__:
        assert getattr(po, name) is not None
    assert set(po.__all__) <= set(dir(po))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = po.nonsense


def test_submodules_do_not_hide_public_functions() -> None:
    """Importing a module by path must not replace a function of the same name."""
    import posterity as po
    import posterity.predict.prior_predictive
    import posterity.reports
    import posterity.run.fit

    assert all(callable(f) for f in (po.fit, po.report, po.prior_predictive, po.elbo, po.load))


HOPS = """
import sys
import numpy as np, posterity as po
x = np.linspace(-1, 1, 30)[:, None]
model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
fit, method, entered = po.fit, po.MAP(steps=5), set()

def look(frame, event, argument):
    if event == "call" and frame.f_code.co_name != "<module>":
        entered.add(frame.f_code.co_filename)

sys.setprofile(look)
fit(model, (x, x[:, 0]), method, progress=False)
sys.setprofile(None)
print("\\n".join(entered))
"""


def test_a_fit_enters_few_files() -> None:
    """From `fit` to a `Posterior`, of run/, model/, data/ and methods/."""
    done = python(HOPS)
    assert done.returncode == 0, done.stderr
    folders = [str(SOURCE / name) for name in ("run", "model", "data", "methods")]
    entered = [name for name in done.stdout.split() if name.startswith(tuple(folders))]
    assert 5 < len(entered) <= 14, sorted(entered)


def test_no_file_imports_the_package_itself() -> None:
    own = re.compile(r"^\s*import posterity\b|^\s*from posterity import __", re.MULTILINE)
    for path in SOURCE.rglob("*.py"):
        code = "\n".join(line for line in path.read_text().splitlines() if ">>>" not in line)
        assert not own.search(code), path


def test_priors_draws_and_targets_are_asked_and_not_told_apart() -> None:
    """`isinstance` on the nouns stands where they are defined, and where files dispatch."""
    nouns = "Prior|Draws|Target|Likelihood|Density|Mixture|Gaussian|FullRank|LowRank|Remembered"
    told = re.compile(rf"isinstance\([^()]*\b\w*({nouns})\b")
    allowed = {"storage", "priors", "distributions", "likelihoods"}
    # `Model` and `fit` check what users give them.
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] not in allowed and path.name != "model.py"
        for line in path.read_text().splitlines()
        if told.search(line)
    ]
    assert found == []


def test_no_pickle_and_no_eval() -> None:
    banned = re.compile(
        r"^\s*(import|from)\s+(pickle|cloudpickle|dill|joblib|marshal|shelve)\b"
        r"|(?<![\w.])(eval|exec)\(|allow_pickle\s*=\s*True",
        re.MULTILINE,
    )
    for path in SOURCE.rglob("*.py"):
        assert not banned.search(path.read_text()), path


def test_only_target_scales_batches() -> None:
    """`rows / batch` and the KL weight stand in model/target.py, and nowhere else."""
    scaled = re.compile(r"[*/] *\w*\.?kl_weight|rows\s*/\s*|/\s*batch_size|n_data")
    # These two need curvature in units of the likelihood, and so divide by the KL's weight.
    curvature = {"ivon.py", "dadvi.py"}
    folders = ("methods", "run", "priors", "likelihoods")
    for path in (path for folder in folders for path in (SOURCE / folder).rglob("*.py")):
        if path.name in curvature:
            continue
        assert not scaled.search(path.read_text()), path


def test_only_run_places_arrays_and_fetches_them() -> None:
    """Methods and targets get arrays where they are; only `run/` knows of devices."""
    places = re.compile(r"device_put|device_get")
    for folder in ("methods", "model"):
        for path in (SOURCE / folder).rglob("*.py"):
            assert not places.search(path.read_text()), path


METHODS = (FunctionType, property, classmethod, staticmethod)


def described(cls: type, name: str) -> bool:
    """Whether a method has a docstring, or overrides one that has."""
    found = [vars(base).get(name) for base in cls.__mro__]
    return any((each.__doc__ or "").strip() for each in found if isinstance(each, METHODS))


def test_every_public_method_is_described_by_itself_or_by_what_it_overrides() -> None:
    missing = []
    for module in pkgutil.walk_packages(posterity.__path__, "posterity."):
        loaded = importlib.import_module(module.name)
        for cls in vars(loaded).values():
            if isinstance(cls, type) and cls.__module__ == module.name:
                missing += [
                    f"{module.name}.{cls.__name__}.{name}"
                    for name, each in vars(cls).items()
                    if not name.startswith("_")
                    and isinstance(each, METHODS)
                    and not (cls.__name__.startswith("_") or described(cls, name))
                ]
    assert not missing


def test_the_house_on_the_page_is_the_house() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    drawn = page[page.index("src/posterity/") : page.index("tests/ ")]
    there = {
        path.name + "/" * path.is_dir() for path in SOURCE.iterdir() if path.name[0] not in "_."
    }
    files = {name for name in there if name.endswith((".py", "/"))}
    assert {name for name in files if name not in drawn} == set()
    named = set(re.findall(r"^  (\w+/|\w+\.py)", drawn, re.MULTILINE))
    assert named <= files
