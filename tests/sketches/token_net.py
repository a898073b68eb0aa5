"""A net of integer tokens: their embeddings, averaged over a row, and one dense layer."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.nets.net import AbstractNet


class TokenNet(AbstractNet):
    """outputs = mean over positions of embedding[x] · weight, for tokens x (rows, length)."""

    vocabulary: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)

    def init(self, key: jax.Array) -> dict[str, jax.Array]:
        first, second = jax.random.split(key)
        embedding = jax.random.normal(first, (self.vocabulary, self.width))
        weight = jax.random.normal(second, (self.width, self.outputs)) / self.width**0.5
        return {"embedding": embedding, "weight": weight}

    def apply(self, params: dict[str, jax.Array], x: Any) -> jax.Array:
        return jnp.mean(params["embedding"][x], axis=1) @ params["weight"]
