"""What a run reported, step by step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class History:
    """The figures of a run as arrays: `history.elbo`, `history.acceptance_rate`, …

    Fields of samplers have shape (chain, step), warm-up left out; those of optimisers (step,) for
    one chain and (chain, step) for several, of which a stretch stays that any chain has kept.
    ``list(history)`` names them.
    """

    def __init__(self, fields: dict[str, np.ndarray]) -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name == "fields":
            raise AttributeError(name)
        try:
            return self.fields[name]
        except KeyError:
            known = ", ".join(self.fields) or "nothing"
            raise AttributeError(f"history has no {name!r}; this run kept {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}{values.shape}" for name, values in self.fields.items())
        return f"History({shown})"
