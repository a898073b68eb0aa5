"""A network of your own: an Equinox module, a Flax NNX module or two functions, all by one call.

python examples/own_network.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

import posterity as po


class NNXNet(nnx.Module):
    """A Flax NNX module: it takes a batch."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(2, 8, rngs=rngs)
        self.second = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jnp.tanh(self.first(x)))


def init(key: jax.Array) -> dict[str, jax.Array]:
    """Parameters of a net with one hidden layer, as any pytree of arrays."""
    first, second = jax.random.split(key)
    return {"v": jax.random.normal(first, (8, 2)), "w": jax.random.normal(second, (8,)) / 8**0.5}


def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Its outputs (rows, 1) for a batch (rows, 2)."""
    return (jnp.tanh(x @ params["v"].T) @ params["w"])[:, None]


def main() -> None:
    x_train, y_train, x_test, y_test = po.data.moons()
    nets = {
        "Equinox": eqx.nn.MLP(2, 1, 8, 1, activation=jnp.tanh, key=jax.random.key(0)),
        "Flax NNX": NNXNet(nnx.Rngs(0)),
        "two functions": (init, apply),
    }
    for name, net in nets.items():
        model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
        posterior = po.fit(model, (x_train, y_train), po.ADVI(steps=10_000), seed=0)
        accuracy = po.metrics.accuracy(y_test, posterior.predict(x_test))
        print(f"{name}: accuracy {accuracy:.3f}; parameters {', '.join(model.parameters())}")


if __name__ == "__main__":
    main()
