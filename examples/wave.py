"""Regression with a learned prior: Bayes by Backprop on a wave, two priors side by side.

python examples/wave.py [FOLDER]      writes wave.png to FOLDER (default: out)
"""

import sys
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import posterity as po


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    x = np.linspace(-0.5, 0.5, 32)[:, None]
    y = 10 * np.sin(2 * np.pi * x[:, 0]) + rng.normal(size=32)
    grid = np.linspace(-1.5, 1.5, 1000)[:, None]

    pi, scale_1, scale_2 = po.learned(0.2), po.learned(1.0), po.learned(0.1)
    priors = {
        "mixture of two normals": po.priors.ScaleMixture(pi=pi, scale_1=scale_1, scale_2=scale_2),
        "trainable normal": po.priors.Normal(po.learned(0.0), po.learned(1.0)),
    }
    method = po.ADVI(
        steps=1_500, optimizer=optax.adam(0.03), estimator="local", init_scale=0.7, stop=False
    )
    _, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for axis, (name, prior) in zip(axes, priors.items()):
        net = po.nets.MLP(1, [20, 20], 1, activation=jax.nn.relu)
        model = po.Model(net, prior, po.likelihoods.Normal(scale=1.0))
        posterior = po.fit(model, (x, y), method, seed=0)
        pred = posterior.predict(grid, draws=500)
        band = np.sqrt(pred.epistemic)
        inside = np.abs(grid[:, 0]) <= 0.5
        ratio = band[~inside].mean() / band[inside].mean()
        found = ", ".join(f"{key} = {value:.2f}" for key, value in posterior.learned.items())
        print(f"{name}: band {ratio:.1f} times as wide outside the data; {found}")
        for times, shade in ((3, 0.15), (2, 0.25), (1, 0.4)):
            low, high = pred.mean - times * band, pred.mean + times * band
            label = f"± {times} posterior sd of the mean"
            axis.fill_between(grid[:, 0], low, high, color="C0", alpha=shade, lw=0, label=label)
        axis.plot(grid[:, 0], pred.mean, "C0", label="posterior mean")
        axis.plot(grid[:, 0], 10 * np.sin(2 * np.pi * grid[:, 0]), "k--", lw=1, label="truth")
        axis.plot(x[:, 0], y, "k.", label="data")
        axis.set(title=name, xlabel="x", ylabel="y", ylim=(-25, 25))
    axes[0].legend(fontsize="small")
    plt.savefig(out / "wave.png", dpi=120)


if __name__ == "__main__":
    main()
