"""`posterity fit`: from a table to a folder with a posterior."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity import likelihoods, metrics, nets
from posterity.cli.console import EXPECTED, say, warn
from posterity.cli.folder import Folder, Rows, in_units
from posterity.data.preprocessing import Preprocessing, infer
from posterity.data.tables import Table, listed, read_table
from posterity.methods.map import MAP
from posterity.methods.mcmc.nuts import NUTS
from posterity.methods.method import AbstractMethod
from posterity.methods.sgmcmc.sgld import SGLD
from posterity.methods.vi.advi import ADVI
from posterity.model.model import Model
from posterity.posterior import Posterior
from posterity.run.finish import UNDRAWN
from posterity.run.fit import fit
from posterity.version import __version__

FULL_BATCH = 2_000  # rows up to which every step sees all of them
BATCH = 256


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `posterity fit` was asked for; see its help."""

    data: Path
    target: str | None
    task: Literal["auto", "classification", "regression"]
    ignore: tuple[str, ...]
    categorical: tuple[str, ...]
    hidden: str
    activation: str
    method: str
    steps: int | None
    batch_size: int | None
    draws: int | None
    step_size: float | None
    seed: int
    test_fraction: float
    test: Path | None


def fit_table(settings: Settings, out: Path, *, quiet: bool, progress: bool) -> dict[str, Any]:
    """Fit as asked, write the folder, and say what came of it.

    Args:
        settings: the command's options. out: the folder to write. quiet: whether to leave remarks
            out. progress: whether a bar may be shown.

    Returns:
        What the command prints.

    Raises:
        ValueError, TypeError, OSError: something cannot be used as it is; the message says what.
        KeyboardInterrupt: it was interrupted before there was anything to keep.
    """
    job = prepare(settings)
    for note in job.notes:
        say(note, quiet=quiet)
    folder = Folder(out)
    folder.prepare()
    posterior = fit(
        job.model, job.train, job.method, seed=settings.seed, progress=None if progress else False
    )
    for warning in posterior.result.warnings:
        warn(warning)
    if UNDRAWN in posterior.result.warnings and folder.finished:
        raise KeyboardInterrupt(f"in the warm-up; {out} holds the older fit as before")
    answer = {
        "task": job.preprocessing.task,
        "result": posterior.result.to_json(),
        "test": _tested(posterior, job),
        "seconds": posterior.facts["seconds"],
        "out": str(out),
    }
    summary = {
        **answer,
        "posterity": __version__,
        "settings": _plain(settings),
        "inference": posterior.settings,
        "found": posterior.facts,
        "rows": {"train": len(job.train[0]), "test": 0 if job.test is None else len(job.test[0])},
        "notes": job.notes,
    }
    folder.write(posterior, job.preprocessing, job.train, job.test, summary)
    try:
        answer["report"] = str(folder.write_report())
    except (*EXPECTED, KeyboardInterrupt) as error:  # the fit is safe
        why = str(error) or "interrupted"
        warn(f"report.html was not written: {why}. posterity report {out} writes it.")
    return {**answer, "notes": job.notes} if quiet else answer


def _tested(posterior: Posterior, job: Job) -> dict[str, Any]:
    """Scores on the rows held out; none where a Ctrl-C leaves them out, which keeps the fit."""
    if job.test is None:
        return {}
    try:
        return _scores(posterior, job.preprocessing, job.test)
    except KeyboardInterrupt:
        warn("the test rows were not predicted: interrupted.")
        return {}


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a fit needs, decided and checked, and a sentence about every decision."""

    model: Model
    method: AbstractMethod
    preprocessing: Preprocessing
    train: Rows
    test: Rows | None
    notes: list[str]


def prepare(settings: Settings) -> Job:
    """Read the table, decide what its columns are, and build the model and the method.

    Raises:
        ValueError, TypeError, OSError: as `fit_table`.
    """
    hidden = _widths(settings.hidden)
    table = read_table(settings.data)
    held_out = _held_out(settings, table.rows)
    preprocessing, notes = infer(
        table,
        _target(settings, table),
        task=settings.task,
        ignore=settings.ignore,
        categorical=settings.categorical,
        train=~held_out,
    )
    train, test = _split(settings, table, preprocessing, held_out)
    method, more = make_method(settings, len(train[0]))
    model = make_model(preprocessing, hidden, settings.activation)
    notes = [*table.notes, *notes, *more, _sizes(train, test)]
    return Job(model, method, preprocessing, train, test, notes)


def make_model(preprocessing: Preprocessing, hidden: tuple[int, ...], activation: str) -> Model:
    """The default model of a table.

    An MLP whose weights have N(0, 1) priors in the first layer and N(0, 1/fan-in) above it, so that
    its outputs do not grow with its width; biases N(0, 1). Regression learns its noise sd, with the
    prior log sd ~ N(−1, 1) in standard units of the target.
    """
    classes = len(preprocessing.classes)
    net = nets.MLP(
        len(preprocessing.columns),
        hidden,
        classes if classes > 2 else 1,
        activation={"relu": jax.nn.relu, "tanh": jnp.tanh}[activation],
    )
    prior: dict[str, Any] = {
        f"layers.{layer}.weight": dist.Normal(0.0, width**-0.5)
        for layer, width in enumerate(hidden, start=1)
    }
    prior["*"] = dist.Normal(0.0, 1.0)
    likelihood: Any = likelihoods.Normal(scale=dist.LogNormal(-1.0, 1.0))
    if classes:
        likelihood = likelihoods.Bernoulli() if classes == 2 else likelihoods.Categorical(classes)
    return Model(net, prior, likelihood)


def make_method(settings: Settings, rows: int) -> tuple[AbstractMethod, list[str]]:
    """The method as asked for, and what was decided on the way."""
    name = settings.method
    _refuse_idle_options(settings)
    notes = []
    batch = settings.batch_size
    if batch is None and rows > FULL_BATCH and name != "nuts":
        batch = BATCH
        notes.append(f"{rows} rows: every step sees {batch} of them (--batch-size).")
    given: dict[str, Any] = {"steps": settings.steps} if settings.steps is not None else {}
    if name == "advi":
        return ADVI(batch_size=batch, **given), notes
    if name == "map":
        return MAP(batch_size=batch, **given), notes
    kept: dict[str, Any] = {"draws": settings.draws} if settings.draws is not None else {}
    warmup: dict[str, Any] = {"warmup": settings.steps} if settings.steps is not None else {}
    if name == "nuts":
        return NUTS(**kept, **warmup), notes
    size = settings.step_size
    return SGLD(step_size=size, batch_size=batch, thin=10, **kept, **warmup), notes


def _refuse_idle_options(settings: Settings) -> None:
    """Refuse an option that the method would not use."""
    used = {
        "draws": ("nuts", "sgld"),
        "batch_size": ("advi", "map", "sgld"),
        "step_size": ("sgld",),
    }
    for option, methods in used.items():
        if getattr(settings, option) is not None and settings.method not in methods:
            flag = "--" + option.replace("_", "-")
            raise ValueError(
                f"{flag} is for {' and '.join(methods)}; --method {settings.method} has no use "
                "for it."
            )


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (-1,)
    if widths == (0,):
        return ()
    if min(widths) < 1:
        raise ValueError(f"--hidden: expected widths such as 50 or 50,50, not {text!r}.")
    return widths


def _target(settings: Settings, table: Table) -> str:
    if settings.target is not None:
        return settings.target
    if settings.data.suffix.lower() == ".npz" and "y" in table.columns:
        return "y"
    raise ValueError(f"--target: name the column to predict; there are {listed(table.columns)}.")


def _held_out(settings: Settings, rows: int) -> np.ndarray:
    """True on the rows to test on: drawn by the seed, none where there is a test table."""
    held_out = np.zeros(rows, bool)
    if settings.test is None:
        count = round(settings.test_fraction * rows)
        held_out[np.random.default_rng(settings.seed).permutation(rows)[:count]] = True
    return held_out


def _split(
    settings: Settings, table: Table, preprocessing: Preprocessing, held_out: np.ndarray
) -> tuple[Rows, Rows | None]:
    x, y = preprocessing.x(table), preprocessing.y(table)
    train = (x[~held_out], y[~held_out])
    if settings.test is not None:
        other = read_table(settings.test)
        return train, (preprocessing.x(other), preprocessing.y(other))
    return train, (x[held_out], y[held_out]) if held_out.any() else None


def _sizes(train: Rows, test: Rows | None) -> str:
    columns = train[0].shape[1]
    tested = "none to test on" if test is None else f"{len(test[0])} to test on"
    return f"{len(train[0])} rows to train on, {tested}; {columns} input columns."


def _scores(posterior: Posterior, preprocessing: Preprocessing, rows: Rows) -> dict[str, float]:
    """Metrics on given rows, in the target's own units."""
    x, y = rows
    output = preprocessing.output
    pred = in_units(posterior.predict(x), output)
    return metrics.score(y if output is None else output.inverse(y), pred)


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings for a file: of tables only the names, which hold no one's folders."""
    fields = dataclasses.asdict(settings)
    return {
        name: value.name if isinstance(value, Path) else value for name, value in fields.items()
    }
