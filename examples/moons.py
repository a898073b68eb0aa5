"""Two-moons classification by variational inference, with all rows in every step and with batches.

python examples/moons.py [FOLDER]      writes the surfaces to FOLDER (default: out)
"""

import sys
from pathlib import Path

import jax.numpy as jnp

import posterity as po


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    out.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = po.data.moons()

    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    methods = {
        "full-batch": po.ADVI(steps=30_000),
        "minibatch": po.ADVI(steps=40_000, batch_size=50),
    }
    for name, method in methods.items():
        posterior = po.fit(model, (x_train, y_train), method, seed=0)
        pred = posterior.predict(x_test)
        scores = po.metrics.score(y_test, pred)
        print(f"{name}: {posterior.facts['seconds']:.1f} s. {posterior.result}")
        print("  " + ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items()))
        print(f"  ELBO {po.elbo(posterior, (x_train, y_train)).value:.1f}")
        path = po.report(
            posterior, out / f"moons-{name}", data=(x_train, y_train), test=(x_test, y_test)
        )
        print(f"  {path}")


if __name__ == "__main__":
    main()
