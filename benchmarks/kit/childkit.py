"""What the measured scripts share.

Importing it loads the standard library only, so that a script can start its import clock first.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._start


class Data(NamedTuple):
    """The arrays of a supervised job, as the harness wrote them (float32)."""

    x_train: "np.ndarray"
    y_train: "np.ndarray"
    x_test: "np.ndarray"
    y_test: "np.ndarray"


def arguments() -> argparse.Namespace:
    """The command line that the harness writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--sampling", choices=("replacement", "permuted"), default="replacement")
    parser.add_argument("--layers", choices=("plain", "shared", "flipout"), default="plain")
    parser.add_argument("--chains", choices=("parallel", "sequential", "vectorized"))
    parser.add_argument("--method", help="ours: which sampler")
    parser.add_argument("--plain-adam", action="store_true", help="ours: the peers' optimiser")
    return parser.parse_args()


def load(path: str) -> Data:
    """The job's arrays."""
    import numpy as np

    with np.load(path) as arrays:
        return Data(*(arrays[name] for name in Data._fields))


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Call `function`, which must not return before its result is computed."""
    clock = Clock()
    result = function()
    return clock.seconds(), result


def fitted() -> None:
    """Tell the harness that the first fit is done; its wall clock stops here."""
    print("FITTED", flush=True)


def report(**figures: Any) -> None:
    """Hand the figures to the harness. A NaN among them is an error, not a result."""
    print("REPORT " + json.dumps(figures, allow_nan=False), flush=True)


def final_loss(losses: "np.ndarray") -> float:
    """The loss (negative ELBO) at the end, averaged over 1000 steps because one step is noisy."""
    return float(losses[-1000:].mean())


def moons_accuracy(weights: "tuple[np.ndarray, ...]", data: Data) -> float:
    """Test accuracy of the mean probability, the same arithmetic for every peer.

    `weights` are posterior draws of the three layers: (draw, 2, 5), (draw, 5, 5), (draw, 5).
    """
    import numpy as np

    first, second, last = weights
    hidden = np.tanh(np.tanh(data.x_test @ first) @ second)
    probability = (1 / (1 + np.exp(-(hidden @ last[:, :, None])[..., 0]))).mean(0)
    return float(((probability > 0.5) == data.y_test).mean())
