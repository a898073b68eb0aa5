"""Diagnosis that knows when it does not know: breast cancer, with doubtful cases left to people.

python examples/breast_cancer.py
"""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po


def main() -> None:
    x_train, y_train, x_test, y_test = po.data.breast_cancer(test_fraction=0.3)
    inputs = po.data.Standardizer.fit(x_train)

    net = po.nets.MLP(30, [10], 1, activation=jnp.tanh)
    prior = {"layers.1.weight": dist.Normal(0, 10**-0.5), "*": dist.Normal(0, 1)}
    model = po.Model(net, prior, po.likelihoods.Bernoulli())
    posterior = po.fit(model, (inputs.transform(x_train), y_train), po.ADVI(), seed=0)

    pred = posterior.predict(inputs.transform(x_test))
    scores = po.metrics.score(y_test, pred)
    print(posterior.result)
    print(", ".join(f"{metric} {value:.3f}" for metric, value in scores.items()))

    # Mutual information is what a diagnosis would tell about the weights: the model's ignorance.
    wrong = pred.label != y_test
    order = np.argsort(pred.mutual_information)
    for share in (1.0, 0.9, 0.8):
        kept = order[: round(share * len(order))]
        print(f"surest {share:4.0%} of the patients: {wrong[kept].sum()} errors in {len(kept)}")


if __name__ == "__main__":
    main()
