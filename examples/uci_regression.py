"""UCI regression in the standard splits: concrete and energy, one hidden layer of 50 units.

python examples/uci_regression.py      fetches the two tables the first time
"""

import jax
import numpyro.distributions as dist

import posterity as po

HIDDEN = 50


def main() -> None:
    for name in ("concrete", "energy"):
        x_train, y_train, x_test, y_test = po.data.uci(name, split=0)
        inputs = po.data.Standardizer.fit(x_train)
        output = po.data.Standardizer.fit(y_train)

        # Weights above a wide layer have priors scaled by its width, so that the function's prior
        # does not grow with it; the noise is learned, in units of the standardised target.
        prior = {
            "layers.1.weight": dist.Normal(0, HIDDEN**-0.5),
            "*": dist.Normal(0, 1),
        }
        net = po.nets.MLP(x_train.shape[1], [HIDDEN], 1, activation=jax.nn.relu)
        model = po.Model(net, prior, po.likelihoods.Normal(scale=dist.LogNormal(-1, 1)))
        data = (inputs.transform(x_train), output.transform(y_train))
        posterior = po.fit(model, data, po.ADVI(steps=30_000), seed=0)

        # Back in the original units, where the papers report their figures.
        pred = posterior.predict(inputs.transform(x_test))
        pred = pred.rescaled(float(output.loc), float(output.scale))
        scores = po.metrics.score(y_test, pred)
        figures = ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items())
        print(f"{name}: {figures}; {posterior.facts['seconds']:.0f} s. {posterior.result}")


if __name__ == "__main__":
    main()
