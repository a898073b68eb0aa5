"""Two moons by NUTS beside mean-field variational inference: where the latter is too sure.

python examples/moons_nuts.py [--out FOLDER]      writes moons-nuts.png to FOLDER (default: out)

Both see the same model and data. NUTS draws from the posterior; mean-field ADVI describes one of
its modes by independent normals, which leave out what the weights do together. Near the data they
are alike; beyond them mean-field is sure of a line that the data do not determine.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, LinearSegmentedColormap

import posterity as po

SIDE = 60  # points of the grid along each axis
EDGE = 4.0  # it goes from −EDGE to EDGE
REACH = 2.5  # the data lie within ±REACH
SURE = 0.95  # a point counts as sure where one class is more probable than that
CLASSES = (("#0072B2", "o"), ("#D55E00", "^"))
PROBABILITY = LinearSegmentedColormap.from_list("classes", ["#8FC3E0", "#FAF9FC", "#F0A875"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure")
    parser.add_argument("--quick", action="store_true", help="far too short, to see that it runs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = po.data.moons()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    methods = {"mean-field ADVI": po.ADVI(steps=30_000), "NUTS": po.NUTS(warmup=500, draws=1_000)}
    if given.quick:
        methods = {"mean-field ADVI": po.ADVI(steps=500), "NUTS": po.NUTS(warmup=20, draws=20)}
    posteriors = {}
    for name, method in methods.items():
        posterior = po.fit(model, (x_train, y_train), method, seed=0)
        posteriors[name] = posterior
        scores = po.metrics.score(y_test, posterior.predict(x_test))
        print(f"{name}: {posterior.facts['seconds']:.1f} s. {posterior.result}")
        print("  test: " + ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items()))

    ticks = np.linspace(-EDGE, EDGE, SIDE)
    plane = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    surfaces = {name: posterior.predict(plane) for name, posterior in posteriors.items()}
    mixing(posteriors["NUTS"], plane)
    too_sure(*surfaces.values(), plane)
    path = given.out / "moons-nuts.png"
    draw(ticks, surfaces, x_train, y_train).savefig(path, dpi=120)
    print(path)


def mixing(posterior: po.Posterior, plane: np.ndarray) -> None:
    """Print whether the chains agree in what they predict."""
    places = {"training rows": posterior.diagnostics, "the plane": posterior.diagnose(plane)}
    for place, found in places.items():
        worst = found.predictions
        print(f"  chains, on {place}: r-hat {worst.rhat:.3f}, bulk ESS {worst.ess_bulk:,.0f}")


def too_sure(variational: po.Predictive, sampled: po.Predictive, plane: np.ndarray) -> None:
    """Print how sure both are, near the data and beyond them."""
    far = np.abs(plane).max(1) > REACH
    for place, rows in {"near the data": ~far, "beyond them": far}.items():
        pair = [pred.take(rows) for pred in (variational, sampled)]
        sds = [np.sqrt(pred.epistemic).mean() for pred in pair]
        unsure = [pred.probs.min(1) > 1 - SURE for pred in pair]
        shares = [100 * part.mean() for part in (*unsure, ~unsure[0] & unsure[1])]
        print(f"{place}, mean-field and NUTS:")
        print(f"  mean sd of the probability {sds[0]:.3f} and {sds[1]:.3f}")
        print(
            f"  neither class above {SURE}: {shares[0]:.1f} % and {shares[1]:.1f} % of the points"
        )
        print(f"  of them by NUTS alone: {shares[2]:.1f} %")


# -- the figure -----------------------------------------------------------------------------------


def draw(
    ticks: np.ndarray, surfaces: dict[str, po.Predictive], x: np.ndarray, y: np.ndarray
) -> plt.Figure:
    """Probabilities above, their sds below: each method's, and the difference."""
    figure, axes = plt.subplots(2, 3, figsize=(13.5, 8.6), sharex=True, sharey=True)
    figure.set_layout_engine("constrained")
    probs = {name: pred.probs[:, 1] for name, pred in surfaces.items()}
    sds = {name: np.sqrt(pred.epistemic) for name, pred in surfaces.items()}
    row_of_surfaces(axes[0], ticks, probs, "probability of class 1", PROBABILITY, 1.0)
    row_of_surfaces(axes[1], ticks, sds, "sd of the probability", "Purples", 0.5)
    for (above, below), pred in zip(axes.T, surfaces.values()):
        half(above, ticks, pred.probs[:, 1])
        half(below, ticks, pred.probs[:, 1])
    for axis in axes.ravel():
        for label, (colour, marker) in enumerate(CLASSES):
            places = x[y == label].T
            style = {"marker": marker, "ec": "white", "lw": 0.3, "label": f"class {label}"}
            axis.scatter(*places, s=14, c=colour, **style)
        axis.set_aspect("equal")
    for axis in axes[:, 0]:
        axis.set_ylabel("x₂")
    for axis in axes[1]:
        axis.set_xlabel("x₁")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def row_of_surfaces(
    row: np.ndarray,
    ticks: np.ndarray,
    values: dict[str, np.ndarray],
    what: str,
    colours: str | Colormap,
    top: float,
) -> None:
    """Both methods on one scale of colours from 0 to `top`, and what NUTS adds."""
    for axis, (name, part) in zip(row, values.items()):
        mesh = surface(axis, ticks, part, colours, 0, top)
        axis.set_title(f"{name}: {what}", fontsize=10)
    row[0].figure.colorbar(mesh, ax=list(row[:2]), label=what, pad=0.01, aspect=30)
    variational, sampled = values.values()
    most = np.abs(sampled - variational).max()
    mesh = surface(row[2], ticks, sampled - variational, "PRGn", -most, most)
    row[2].set_title("NUTS less mean-field", fontsize=10)
    row[2].figure.colorbar(mesh, ax=row[2], label=f"difference of the {what}", aspect=30)


def surface(
    axis: plt.Axes,
    ticks: np.ndarray,
    values: np.ndarray,
    colours: str | Colormap,
    low: float,
    high: float,
) -> QuadMesh:
    """Colours of `values` over the plane."""
    side = values.reshape(len(ticks), -1)
    limits = {"vmin": low, "vmax": high}
    return axis.pcolormesh(
        ticks, ticks, side, cmap=colours, shading="gouraud", rasterized=True, **limits
    )


def half(axis: plt.Axes, ticks: np.ndarray, probs: np.ndarray) -> None:
    """The line on which both classes are equally probable."""
    side = probs.reshape(len(ticks), -1)
    axis.contour(ticks, ticks, side, levels=[0.5], colors="black", linewidths=1)
    axis.plot([], [], color="black", lw=1, label="both classes equally probable")


if __name__ == "__main__":
    main()
