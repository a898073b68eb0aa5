"""The sinusoid with a gap, and then 100 points in the gap alone: what an update keeps.

python examples/gap_update.py [--out FOLDER]      two minutes

By NUTS and by variational inference: yesterday's posterior becomes the prior as the
moments of each weight, as normals with correlations, and as what it predicts at 50 old inputs.
Writes gap-update.png to FOLDER (default: out).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import posterity as po

GRID = np.linspace(-0.4, 1.2, 161)[:, None]
REMEMBERED = 50


def wave(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x + 0.3 sin 2π(x + ε) + 0.3 sin 4π(x + ε) + ε, with ε ~ N(0, 0.02²)."""
    eps = 0.02 * rng.normal(size=len(x))
    return x + 0.3 * np.sin(2 * np.pi * (x + eps)) + 0.3 * np.sin(4 * np.pi * (x + eps)) + eps


def curve() -> po.Model:
    """1-5-1, tanh; the noise sd has the prior of g², g ~ Gamma(1/2, 1)."""
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), dist.transforms.PowerTransform(2.0))
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    return po.Model(net, po.priors.Normal(0, 10), po.likelihoods.Normal(scale=noise))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what it writes")
    parser.add_argument("--quick", action="store_true", help="far too short, to see that it runs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(42)
    x = np.concatenate([np.linspace(-0.2, 0.2, 500), np.linspace(0.6, 1.0, 500)])
    between = np.linspace(0.2, 0.6, 100)
    sides, gap = ((at[:, None], wave(at, rng)) for at in (x, between))

    steps, draws = (200, 20) if given.quick else (30_000, 1_000)
    methods = {
        "NUTS": po.NUTS(chains=4, warmup=draws, draws=draws, max_depth=3 if given.quick else 10),
        "mean-field VI": po.ADVI(draws=8, steps=steps),
        "full-rank VI": po.ADVI(family="full-rank", draws=8, steps=steps),
    }
    old = sides[0][:: len(x) // REMEMBERED]
    kept = {
        "each weight's moments": {"correlations": "none"},
        "correlations": {"correlations": "full"},
        f"predictions at {REMEMBERED} inputs": {"remember": old},
    }
    figure, axes = plt.subplots(3, 4, figsize=(16, 11), sharex=True, sharey=True)
    figure.set_layout_engine("constrained")
    for row, (name, method) in zip(axes, methods.items()):
        first = po.fit(curve(), sides, method, seed=42)
        tell(f"{name}, sides alone", first, sides, gap)
        draw(row[0], f"{name}: the sides alone", first, sides)
        for axis, (what, how) in zip(row[1:], kept.items()):
            second = first.update(gap, seed=42, **how)
            tell(f"{name}, updated, {what}", second, sides, gap)
            draw(axis, f"the gap added, keeping\n{what}", second, sides, gap)
        row[0].set_ylabel("y")
    for axis in axes[-1]:
        axis.set_xlabel("x")
    axes[0, -1].legend(fontsize="small", loc="upper left", markerscale=3)
    path = given.out / "gap-update.png"
    figure.savefig(path, dpi=120)
    print(path)


Rows = tuple[np.ndarray, np.ndarray]


def tell(name: str, posterior: po.Posterior, sides: Rows, gap: Rows) -> None:
    """Print how well old and new rows are fitted, and how sure the curve in the gap is."""
    inside, outside = posterior.predict(gap[0]), posterior.predict(sides[0])
    print(
        f"{name}: RMSE on the sides {po.metrics.rmse(sides[1], outside):.4f}, in the gap "
        f"{po.metrics.rmse(gap[1], inside):.4f}, sd of the curve in the gap "
        f"{np.sqrt(inside.epistemic).mean():.4f}"
    )
    for sentence in posterior.result.warnings:
        print(f"  * {sentence}")


def draw(axis: plt.Axes, title: str, posterior: po.Posterior, sides: Rows, *new: Rows) -> None:
    """The data, the mean, and 90 % intervals of y and of the mean."""
    pred, at = posterior.predict(GRID), GRID[:, 0]
    for of, alpha in {"y": 0.2, "mean": 0.45}.items():
        low, high = pred.interval(0.9, of=of)
        label = f"90 % interval of {'y' if of == 'y' else 'the mean'}"
        axis.fill_between(at, low, high, color="C0", alpha=alpha, lw=0, label=label)
    axis.plot(at, pred.mean, "C0", label="mean")
    axis.plot(sides[0][:, 0], sides[1], "k.", ms=2, alpha=0.4, label="old rows")
    for x, y in new:
        axis.plot(x[:, 0], y, "C3.", ms=3, alpha=0.6, label="new rows")
    axis.set_title(title, fontsize=11)
    axis.set_ylim(-1.5, 2.5)


if __name__ == "__main__":
    main()
