"""The sinusoid with a gap by a deep net: five hidden layers of ten, by NUTS and by MCLMC.

python examples/deep_regression.py [--out FOLDER]      three minutes of one core's time

Writes deep-regression.png, and a report on the last fit, to FOLDER (default: out). No run of this
length converges. Within a run the diagnostics say so; what they cannot see is what all chains of a
run share, so MCLMC runs twice: from the small weights that nets are trained from, and from draws of
the prior, whose weights are large. How sure the curve seems in the gap depends on that start.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import posterity as po

DEPTH, WIDTH, CHAINS = 5, 10, 4
SPREAD = 5.0  # weights have prior sds of SPREAD √(2 / fan-in), biases of SPREAD
GRID = np.linspace(-0.5, 1.3, 181)[:, None]
GAP = np.linspace(0.2, 0.6, 21)[:, None]


def sinusoid() -> tuple[np.ndarray, np.ndarray]:
    """1,000 points on both sides of a gap, with noise inside the sines."""
    rng = np.random.default_rng(42)
    x = np.concatenate([np.linspace(-0.2, 0.2, 500), np.linspace(0.6, 1.0, 500)])
    eps = 0.02 * rng.normal(size=len(x))
    y = x + 0.3 * np.sin(2 * np.pi * (x + eps)) + 0.3 * np.sin(4 * np.pi * (x + eps)) + eps
    return x[:, None], y


def deep_net() -> po.Model:
    """1-10-10-10-10-10-1, tanh; the noise sd has the prior of g², g ~ Gamma(1/2, 1)."""
    prior = {
        "layers.0.weight": dist.Normal(0, SPREAD * 2**0.5),
        "*.weight": dist.Normal(0, SPREAD * (2 / WIDTH) ** 0.5),
        "*.bias": dist.Normal(0, SPREAD),
    }
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), dist.transforms.PowerTransform(2.0))
    net = po.nets.MLP(1, [WIDTH] * DEPTH, 1, activation=jnp.tanh)
    return po.Model(net, prior, po.likelihoods.Normal(scale=noise))


def runs(quick: bool) -> dict[str, tuple[po.NUTS | po.MCLMC, str]]:
    """Each run's method and start. NUTS needs 1,000 leapfrogs a step here, so it makes few."""
    nuts = po.NUTS(chains=CHAINS, warmup=50, draws=50)
    mclmc = po.MCLMC(chains=CHAINS, warmup=20_000, draws=400, thin=150)
    if quick:
        nuts = po.NUTS(chains=CHAINS, warmup=5, draws=5, max_depth=4)
        mclmc = po.MCLMC(chains=CHAINS, warmup=50, draws=5, thin=5)
    return {
        "NUTS from small weights": (nuts, "net"),
        "MCLMC from small weights": (mclmc, "net"),
        "MCLMC from the prior": (mclmc, "prior"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what it writes")
    parser.add_argument("--quick", action="store_true", help="far too short, to see that it runs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)

    data, model = sinusoid(), deep_net()
    posteriors = {}
    for name, (method, start) in runs(given.quick).items():
        posteriors[name] = po.fit(model, data, method, init=start, seed=0)
        tell(name, posteriors[name], data)
    path = given.out / "deep-regression.png"
    draw(posteriors, *data).savefig(path, dpi=120)
    print(path)
    title = f"The sinusoid with a gap by a deep net: {name}"
    print(po.report(posteriors[name], given.out / "deep-regression", data=data, title=title))


def tell(name: str, posterior: po.Posterior, data: tuple[np.ndarray, np.ndarray]) -> None:
    """Print how the run went and whether its chains agree, on the data and in the gap."""
    x, y = data
    print(f"{name}: {posterior.facts['seconds']:.0f} s")
    for place, found in {"data": posterior.diagnostics, "gap": posterior.diagnose(GAP)}.items():
        worst = found.predictions
        print(f"  in the {place}: r-hat {worst.rhat:.2f}, bulk ESS {worst.ess_bulk:.0f}")
    scale = posterior.weights("likelihood.scale").mean()
    print(f"  RMSE {po.metrics.rmse(y, posterior.predict(x)):.4f}, noise sd {scale:.4f}")
    width = np.sqrt(posterior.predict(GAP).epistemic).mean()
    print(f"  sd of the curve in the gap {width:.2f}")
    # A density that keeps falling means that the weights still grow to the size of the prior's.
    densities = np.asarray(posterior.history.log_joint)
    early, late = (half.mean() for half in np.array_split(densities, 2, axis=1))
    print(f"  log joint density: {early:.0f} in the first half of the kept steps, {late:.0f} later")
    for sentence in posterior.result.warnings:
        print(f"  * {sentence}")


# -- the figure -----------------------------------------------------------------------------------


def draw(posteriors: dict[str, po.Posterior], x: np.ndarray, y: np.ndarray) -> plt.Figure:
    """Above: the band of all chains. Below: what each of them holds the curve to be."""
    figure, axes = plt.subplots(2, len(posteriors), figsize=(14, 8), sharex=True, sharey=True)
    figure.set_layout_engine("constrained")
    for column, (name, posterior) in zip(axes.T, posteriors.items()):
        whole(column[0], posterior)
        by_chain(column[1], posterior)
        column[0].set_title(f"{name}\nall chains", fontsize=11)
        column[1].set_title("each chain's mean and 90 % interval of the curve", fontsize=11)
        column[1].set_xlabel("x")
        for axis in column:
            axis.plot(x[:, 0], y, "k.", ms=2, alpha=0.4, label="data")
            axis.set_ylim(-2.5, 3.5)
    for row in axes:
        row[0].set_ylabel("y")
        row[0].legend(fontsize="small", loc="lower center", ncols=2, markerscale=3)
    return figure


def whole(axis: plt.Axes, posterior: po.Posterior) -> None:
    """The mean, and 90 % intervals of y and of the mean."""
    pred = posterior.predict(GRID)
    at = GRID[:, 0]
    shades = {"y": ("C0", 0.2), "mean": ("C0", 0.45)}
    for of, (colour, alpha) in shades.items():
        low, high = pred.interval(0.9, of=of)
        label = f"90 % interval of {'y' if of == 'y' else 'the mean'}"
        axis.fill_between(at, low, high, color=colour, alpha=alpha, lw=0, label=label)
    axis.plot(at, pred.mean, "C0", label="mean")


def by_chain(axis: plt.Axes, posterior: po.Posterior) -> None:
    """The curve's interval by every chain alone: where they differ, they have not mixed."""
    for chain, curves in enumerate(curves_of_chains(posterior)):
        low, high = np.quantile(curves, (0.05, 0.95), axis=0)
        axis.fill_between(GRID[:, 0], low, high, color=f"C{chain}", alpha=0.2, lw=0)
        axis.plot(GRID[:, 0], curves.mean(0), f"C{chain}", label=f"mean of chain {chain + 1}")


def curves_of_chains(posterior: po.Posterior) -> np.ndarray:
    """The net on the grid, for every draw: (chain, draw, point)."""
    h = GRID
    for layer in range(DEPTH + 1):
        weight, bias = (posterior.weights(f"layers.{layer}.{part}") for part in ("weight", "bias"))
        h = (np.tanh(h) if layer else h) @ np.swapaxes(weight, -1, -2) + bias[..., None, :]
    return h[..., 0]


if __name__ == "__main__":
    main()
