"""`posterity demo digits`: a Bayesian LeNet-5 by Flipout, watched while it learns."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optax

from posterity import data, likelihoods, metrics, nets, plots, priors
from posterity.cli.console import plain, say, warn
from posterity.files import write_atomic
from posterity.methods.vi.advi import ADVI
from posterity.model.model import Model
from posterity.posterior import Posterior
from posterity.predict.predictive import Predictive
from posterity.run.fit import fit

DRAWS = 50
EVERY = 400  # steps between two looks at held-out images
LOOKED_AT = 1_000  # held-out images per look
ANSWERED = 0.98  # share of test images that the refusal rule must leave


def digits(
    out: Path, name: str, steps: int, test: int, seed: int, *, quiet: bool, progress: bool
) -> dict[str, Any]:
    """Fit LeNet-5 by Flipout in batches of 128; predict, refuse, plot and save.

    Args:
        out: folder for pictures, report and posterior. name: ``"mnist"`` or ``"fashion-mnist"``.
        steps: gradient steps. test: how many test images. seed: of the run.
        quiet: no remarks. progress: show a progress bar.

    Returns:
        What the command prints.
    """
    began = time.perf_counter()
    load = {"mnist": data.mnist, "fashion-mnist": data.fashion_mnist}[name]
    x_train, y_train, x_test, y_test = load()
    x_test, y_test = x_test[:test], y_test[:test]
    say(f"{name}: LeNet-5 by Flipout, {steps:,} steps of 128 images.", quiet=quiet)
    out.mkdir(parents=True, exist_ok=True)
    model = Model(nets.LeNet5(), priors.Normal(0, 1), likelihoods.Categorical(10))
    method = ADVI(
        steps=steps,
        batch_size=128,
        estimator="flipout",
        optimizer=optax.adam(1e-3),
        stop=False,
    )
    looks: list[dict[str, float]] = []

    def look(posterior: Posterior) -> None:
        looks.append(_look(posterior, x_test, y_test, out))
        nats, made = looks[-1]["nats"], looks[-1]["steps"]
        say(f"step {made:6,.0f}: held-out {nats:.4f} nats per image", quiet=quiet)

    posterior = fit(
        model,
        (x_train, y_train),
        method,
        seed=seed,
        progress=None if progress else False,
        every=EVERY,
        call=look,
    )
    for warning in posterior.result.warnings:
        warn(warning)
    pred = posterior.predict(x_test, draws=DRAWS)
    answer = {
        "result": posterior.result.to_json(),
        "test": metrics.score(y_test, pred),
        "looks": looks,
        "refusal": refusal(posterior, pred, x_test, seed),
        "fit_seconds": posterior.facts["seconds"],
        "posterior": str(posterior.save(out / "posterior.safetensors")),
    }
    _plot(looks, out)
    answer["seconds"] = time.perf_counter() - began
    write_atomic(out / "demo.json", json.dumps(plain(answer), indent=2) + "\n")
    return answer


def _look(posterior: Posterior, x: np.ndarray, y: np.ndarray, out: Path) -> dict[str, float]:
    """Held-out nats, and pictures of weights and predictions, of a fit under way."""
    x, y = x[:LOOKED_AT], y[:LOOKED_AT]
    pred = posterior.predict(x, draws=DRAWS)
    step = posterior.facts["steps_made"]
    plots.layers(posterior).savefig(out / f"step-{step:05d}-weights.png", dpi=100)
    figure = plots.held_out(pred, x, y, 8)
    figure.savefig(out / f"step-{step:05d}-predictions.png", dpi=80)
    return {
        "steps": step,
        "nats": metrics.nll(y, pred),
        "accuracy": metrics.accuracy(y, pred),
    }


def refusal(posterior: Posterior, pred: Predictive, x: np.ndarray, seed: int) -> dict[str, Any]:
    """A cutoff that answers 98 % of the test images, and what it refuses of noise and letters."""
    surest = np.max(pred.mean, axis=1)
    cutoff = float(np.quantile(surest, 1 - ANSWERED))
    rng = np.random.default_rng(seed)
    strange = {"noise": rng.random((1_000, *x.shape[1:]), np.float32)}
    try:
        strange["letters"] = data.notmnist()[0][: len(x)]
    except OSError as error:  # no network and no file: the rest stands
        warn(str(error))
    answer: dict[str, Any] = {
        "cutoff": cutoff,
        "answered": 1 - metrics.refusal_rate(pred.abstain(below=cutoff)),
    }
    for name, images in strange.items():
        other = posterior.predict(images, draws=DRAWS)
        auroc = {
            "max-probability": metrics.auroc(-surest, -np.max(other.mean, axis=1)),
            "entropy": metrics.auroc(pred.entropy, other.entropy),
            "mutual information": metrics.auroc(pred.mutual_information, other.mutual_information),
        }
        refused = metrics.refusal_rate(other.abstain(below=cutoff))
        answer[name] = {"refused": refused, "auroc": auroc}
    return answer


def _plot(looks: list[dict[str, float]], out: Path) -> None:
    if not looks:
        return
    from posterity.plots import style

    figure = style.new_figure((5, 3.2))
    ax = style.axes(figure.subplots())
    ax.plot([look["steps"] for look in looks], [look["nats"] for look in looks], marker="o")
    ax.set(xlabel="step", ylabel="held-out nats per image", yscale="log")
    figure.savefig(out / "held-out.png", dpi=120)
