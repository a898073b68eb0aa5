"""The sinusoid with a gap by Pyro's NUTS: one chain and a few draws, as a path takes seconds."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import time
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops import integrator

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 5
MOST_DRAWS = 20
FIRST = 50  # gradients that are not timed: in them torch's own compiler looks on and compiles


def network(x: torch.Tensor, y: torch.Tensor) -> None:
    """1-5-1, tanh, N(0, 10) on weights and biases; the root of the noise sd is Gamma(0.5, 1)."""
    wide = dist.Normal(torch.tensor(0.0), torch.tensor(10.0))
    first = pyro.sample("first", wide.expand([1, HIDDEN]).to_event(2))
    first_bias = pyro.sample("first_bias", wide.expand([HIDDEN]).to_event(1))
    last = pyro.sample("last", wide.expand([HIDDEN]).to_event(1))
    last_bias = pyro.sample("last_bias", wide)
    root = pyro.sample("root", dist.Gamma(torch.tensor(0.5), torch.tensor(1.0)))
    mean = torch.tanh(x @ first + first_bias) @ last + last_bias
    with pyro.plate("rows", x.shape[0]):
        pyro.sample("y", dist.Normal(mean, root**2), obs=y)


def watch_gradients() -> list[float]:
    """When each gradient began; Pyro's own record has only acceptance and divergences."""
    began: list[float] = []
    original = integrator.potential_grad

    def watched(*args: Any) -> Any:
        began.append(time.perf_counter())
        return original(*args)

    integrator.potential_grad = watched
    return began


def main() -> None:
    args = arguments()
    data = load(args.data)
    draws = min(args.steps, MOST_DRAWS)
    began = watch_gradients()
    torch.set_num_threads(1)  # for so few rows a second thread costs more than it does
    pyro.set_rng_seed(0)
    kernel = NUTS(network, jit_compile=args.method == "jit", ignore_jit_warnings=True)
    mcmc = MCMC(kernel, num_samples=draws, warmup_steps=draws, disable_progbar=True)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    seconds, _ = timed(lambda: mcmc.run(x, y))
    fitted()
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=seconds,
        leapfrogs=len(began),
        leapfrogs_per_second=(len(began) - FIRST) / (began[-1] - began[FIRST]),
    )


main()
