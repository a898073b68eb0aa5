"""What the scripts of the MCMC jobs share: the same figures, computed alike, for every peer."""

import importlib.util
import time
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
from childkit import Data

CHAINS = Path(__file__).resolve().parents[2] / "src/posterity/posterior/chains.py"
Layers = list[tuple[np.ndarray, np.ndarray]]
"""(chain, draw, in, out) and (chain, draw, out) for each layer."""


class Compilation:
    """Seconds that JAX has spent tracing, lowering and compiling since this was made."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    @property
    def seconds(self) -> float:
        """Their union: what is traced within another trace counts once."""
        total, reached = 0.0, 0.0
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total

    def _heard(self, event: str, seconds: float, **_: object) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            self._spans.append((now - seconds, now))


def moons_figures(layers: Layers, data: Data) -> dict[str, float]:
    """Mixing of the logits on an 8 x 8 grid, and the NLL of the test points with its error."""
    chains = _chains()
    side = np.linspace(-2, 2, 8)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    mixing = chains.mixing(_logits(layers, grid))
    signs = 2 * data.y_test - 1
    each = 1 / (1 + np.exp(-signs * _logits(layers, data.x_test)))  # (chain, draw, row)
    mean = each.mean((0, 1))
    # The error of a mean of log means, by the delta method.
    shares = (each / mean).mean(-1)
    return {
        "ess": float(mixing.ess_bulk.min()),
        "rhat": float(mixing.rhat.max()),
        "nll": float(-np.log(mean).mean()),
        "nll_error": float(chains.mcse_mean(shares)),
    }


def _logits(layers: Layers, x: np.ndarray) -> np.ndarray:
    """The network, tanh between its layers: (chain, draw, row)."""
    h = x
    for index, (weight, bias) in enumerate(layers):
        h = (np.tanh(h) if index else h) @ weight + bias[:, :, None]
    return h[..., 0]


def _chains() -> ModuleType:
    """Ours for all. From its file, as the peers' environments have no Posterity."""
    spec = importlib.util.spec_from_file_location("chains", CHAINS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
