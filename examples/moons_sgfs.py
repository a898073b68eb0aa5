"""Two moons by stochastic gradient Fisher scoring, in batches of 50.

python examples/moons_sgfs.py [--out FOLDER]      writes four figures to FOLDER (default: out)

Three runs of four chains: with B the identity; with B proportional to the Fisher information, which
leaves one number to choose; and the latter without the decay of the step size. Halved every 100
steps, the step at the end is 2⁻⁴⁵ of the first: chains come to rest, each in a place of its own.
The traces show it, r-hat and the result say it. Such draws classify well, but a chain of them is
worth little more than one net.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import posterity as po

CHAINS = 4
TITLES = {
    "identity": "B = I, step size halved every 100 steps",
    "fisher": "B ∝ Fisher information, step size halved every 100 steps",
    "fisher-kept": "B ∝ Fisher information, step size kept",
}


def runs(draws: int) -> dict[str, po.SGFS]:
    """The three runs, by the names of their figures."""
    falling = {"step_size": 0.1, "step_size_decay": 100}
    shared = {"draws": draws, "batch_size": 50, "chains": CHAINS}
    return {
        "identity": po.SGFS(**shared, **falling),
        "fisher": po.SGFS(**shared, **falling, preconditioner="fisher"),
        "fisher-kept": po.SGFS(**shared, step_size=0.1, preconditioner="fisher"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figures")
    parser.add_argument("--quick", action="store_true", help="far too short, to see that it runs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = po.data.moons()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    posteriors = {}
    for name, method in runs(50 if given.quick else 4_500).items():
        posteriors[name] = po.fit(model, (x_train, y_train), method, seed=0)
        tell(name, posteriors[name], x_test, y_test)
        path = given.out / f"moons-sgfs-{name}.png"
        po.plots.traces(posteriors[name], x_test).savefig(path)
        print(f"  {path}")
    path = given.out / "moons-sgfs.png"
    surfaces(posteriors, x_train, y_train).savefig(path)
    print(path)


def tell(name: str, posterior: po.Posterior, x: np.ndarray, y: np.ndarray) -> None:
    """Print how well the run predicts, how long it took and whether its chains agree."""
    scores = po.metrics.score(y, posterior.predict(x))
    worst = posterior.diagnose(x).predictions
    print(f"{TITLES[name]}: {posterior.facts['seconds']:.1f} s")
    print("  test: " + ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items()))
    print(f"  {CHAINS} chains: r-hat {worst.rhat:.2f}, bulk ESS {worst.ess_bulk:,.0f}")
    for sentence in posterior.result.warnings:
        print(f"  * {sentence}")


def surfaces(posteriors: dict[str, po.Posterior], x: np.ndarray, y: np.ndarray) -> Figure:
    """For each run the probability of class 1, the sd of y and the sd of the probability."""
    figure = Figure(figsize=(13.5, 4.2 * len(posteriors)), dpi=100, layout="constrained")
    for part, (name, posterior) in zip(figure.subfigures(len(posteriors), 1), posteriors.items()):
        part.suptitle(TITLES[name], fontsize=12)
        drawn = (po.plots.probability_surface, po.plots.sd_surface, po.plots.epistemic_surface)
        for draw, axis in zip(drawn, part.subplots(1, 3, sharex=True, sharey=True)):
            draw(posterior, x, y, ax=axis)
            axis.set_aspect("equal")
    return figure


if __name__ == "__main__":
    main()
