"""One change of any value or array of a file: the same numbers, or a sentence, and soon."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import safetensors

import posterity as po
from handmade import draws_of, gaussian_of, posterior_of
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, LowRank
from posterity.distributions.prior_of_predictions import Remembered
from posterity.distributions.prior_of_weights import JointPrior
from posterity.model.net_target import Target
from posterity.storage.encode import Encoder
from posterity.storage.file import PosteriorFileError
from posterity.storage.tensors import digest, write

NET = po.nets.MLP(1, [2], 1, activation=jnp.tanh)
RULES = {"*.bias": dist.Normal(0.0, jnp.array([1.0])), "*": dist.Gamma(2.0, 0.3)}
NOISY = po.Model(NET, RULES, po.likelihoods.Normal(dist.HalfNormal(1.0)))
FIXED = po.Model(NET, po.priors.Normal(0, 1), po.likelihoods.StudentT(4.0, 0.3))
LINEAR = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(0, 1), po.likelihoods.Normal(0.3))
RANGE = np.linspace(-1, 1, 8, dtype=np.float32)
SD = np.full(8, 0.1, np.float32)
X = np.linspace(-1, 1, 4)[:, None]


def made(name: str) -> po.Posterior:
    """A posterior whose file has fields of another kind than the others."""
    if name == "normal":
        return posterior_of(NOISY, gaussian_of(RANGE, SD), steps=3, rate=0.1, list=[1, "a"])
    if name == "full":
        return posterior_of(FIXED, FullRank(jnp.asarray(RANGE[:7]), jnp.eye(7)))
    if name == "draws":
        return posterior_of(
            FIXED, draws_of(np.ones((2, 3, 7))), history={"log_joint": np.ones((2, 3))}
        )
    if name == "mixture":
        parts = [LowRank(jnp.asarray(RANGE), jnp.asarray(SD), jnp.ones((8, 2))) for _ in range(2)]
        return posterior_of(NOISY, Mixture.of([0.25, 0.75], parts))
    first = posterior_of(LINEAR, gaussian_of(RANGE[:2], SD[:2]))
    remember = X if name == "remembered" else None
    prior = first.as_prior(remember=remember)
    model = po.Model(LINEAR.net, prior, LINEAR.likelihood)
    return posterior_of(model, gaussian_of(RANGE[:2], SD[:2]))


NAMES = ("normal", "full", "draws", "mixture", "joint", "remembered")


class File:
    """The description and the arrays of a file, to be changed."""

    def __init__(self, posterior: po.Posterior, folder: Path) -> None:
        path = posterior.save(folder / "whole")
        with safetensors.safe_open(path, "numpy") as file:
            self.text = file.metadata()["posterity"].partition("\n")[2]
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.folder = folder

    def changed(self, text: str, tensors: dict[str, np.ndarray]) -> Path:
        metadata = {"posterity": f"{digest(text, tensors)}\n{text}"}
        return write(self.folder / "changed.safetensors", tensors, metadata)


HUGE = "0123456789"  # in the place of a number that Python's JSON does not write


def others(value: Any) -> list[Any]:
    """What may stand in the place of a value, to deceive."""
    wrong: list[Any] = [None, True, "", "x", [], {}, -1, 0, 2.5, -5, 10**9, 10**30, HUGE]
    wrong += [{"$float": "nan"}, {"$float": "inf"}, {"$array": "mean"}, [value], "x" * 20_000]
    wrong += [[-1], [0], [10**12], [2**31, 2**31], "nets.MLP", "tanh", "Normal", {"x": value}]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        wrong += [-value, value + 0.5, value * 10**6]
    if isinstance(value, list):
        wrong += [value[:-1], value[::-1], value * 3, value * 3_000, value * 200_000]
        wrong += [[*value, None]]
    if isinstance(value, dict):
        wrong += [{**value, "more": 1}, {**value, "$stored": "nets.MLP"}]
        wrong += [{k: v for k, v in value.items() if k != name} for name in value]
    return [one for one in wrong if type(one) is not type(value) or one != value]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in pairs:
        yield (*way, name)
        if isinstance(part, (dict, list)):
            yield from places(part, (*way, name))


def texts(text: str, step: int = 1) -> Iterator[tuple[str, str]]:
    """Every `step`-th changed description, each with what was changed."""
    description = json.loads(text)
    changes = (
        (way, value) for way in places(description) for value in others(inside(description, way))
    )
    for way, value in itertools.islice(changes, 0, None, step):
        new = copy.deepcopy(description)
        inside(new, way[:-1])[way[-1]] = value
        found = json.dumps(new, sort_keys=True)
        yield f"{way} = {value!r:.60}", found.replace(f'"{HUGE}"', "1e400")


def inside(description: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        description = description[step]
    return description


def arrays(tensors: dict[str, np.ndarray]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Changed arrays, each with what was changed."""
    for name, array in tensors.items():
        changes = {
            "negative": -array,
            "zero": 0 * array,
            "NaN": array.astype(np.float32) + np.float32(np.nan),
            "infinite": array.astype(np.float32) + np.float32(np.inf),
            "whole": array.astype(np.int32),
            "true": array.astype(bool),
            "half": array.astype(np.float16),
            "beyond": np.full(array.shape, 1e300),
            "shorter": array[:-1] if array.ndim else array[None],
            "longer": np.concatenate([array, array]) if array.ndim else array[None],
            "deeper": array[None],
            "empty": np.zeros((0, *array.shape[1:]), array.dtype),
            "none": np.zeros(0, np.float32),
            "number": np.float32(1.0),
        }
        for what, change in changes.items():
            yield f"{name}: {what}", {**tensors, name: np.asarray(change)}
        yield f"{name}: gone", {other: tensors[other] for other in tensors if other != name}


def peak() -> int | None:
    """The most memory of this process since `forget_peak`, in bytes; None where not known."""
    try:
        found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else None
    except OSError:
        return None


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system does not tell the peak of memory")


def try_all(name: str, folder: Path, step: int) -> None:
    """Every `step`-th change, by a count that goes on."""
    posterior = made(name)
    file = File(posterior, folder)
    forget_peak()
    before, slow = peak(), []
    few = max(1, step // 9)  # arrays matter more, and there are fewer
    cases = itertools.chain(
        ((what, text, file.tensors) for what, text in texts(file.text, step)),
        (
            (what, file.text, tensors)
            for what, tensors in itertools.islice(arrays(file.tensors), 0, None, few)
        ),
    )
    for what, text, tensors in cases:
        path = file.changed(text, tensors)
        begin = time.process_time()
        try:
            loaded = po.load(path)
        except PosteriorFileError as error:
            loaded = None
            words = str(error)
            assert len(words) < 2_000, what
            assert words.endswith((".", ")")), (what, words)
            assert "makes no sense (" not in words, (what, words)  # an error that nobody foresaw
        if (seconds := time.process_time() - begin) > 1:
            slow.append((what, seconds))
        if loaded is not None:
            refuse_other_numbers(what, loaded, json.loads(text), tensors)
    assert not slow
    assert peak() - before < 700e6


def refuse_other_numbers(what: str, loaded: Any, text: Any, tensors: dict[str, Any]) -> None:
    """What was loaded is what the file says, word by word and bit by bit."""
    encoder = Encoder()
    for name in ("target", "distribution"):
        said = json.loads(json.dumps(encoder.encode(getattr(loaded, name), name)))
        assert same(said, encoder.tensors, text[name], tensors), (what, said, text[name])
    for array in encoder.tensors.values():
        assert np.isfinite(array).all() or array.dtype.kind != "f", what
    assert [[p.path, list(p.shape)] for p in loaded.target.parameters] == text["parameters"], what
    mean, sd = loaded.distribution.mean_and_sd()
    assert np.isfinite(mean).all(), what
    assert (np.asarray(sd) >= 0).all(), what


LATER = {*Target.later_parts, *JointPrior.later_parts, *Remembered.later_parts}


def same(one: Any, arrays: Any, other: Any, others: Any) -> bool:
    """Whether two descriptions are alike, where 1 and 1.0 are one number, but 1 and True two."""
    if isinstance(one, dict) and isinstance(other, dict) and "$array" in one and "$array" in other:
        array, known = arrays[one["$array"]], others[other["$array"]]
        alike = array.dtype.kind == known.dtype.kind
        return alike and np.array_equal(array, np.broadcast_to(known, array.shape))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, list) and isinstance(other, list):
        alike = len(one) == len(other)
        return alike and all(same(a, arrays, b, others) for a, b in zip(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        # Files of earlier versions lack some parts, which are None then.
        names = {
            name for name in one if name in other or name not in LATER or one[name] is not None
        }
        return names == set(other) and all(
            same(one[name], arrays, other[name], others) for name in names
        )
    return one == other


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_says_what_it_says_or_is_refused(name: str, tmp_path: Path) -> None:
    try_all(name, tmp_path, 97)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_changes(name: str, tmp_path: Path) -> None:
    try_all(name, tmp_path, 1)
