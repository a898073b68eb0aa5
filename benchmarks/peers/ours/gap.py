"""The sinusoid with a gap by Posterity's NUTS."""
# ruff: noqa: E402  (imports are timed)

from __future__ import annotations

from typing import Any

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax.numpy as jnp
import numpyro.distributions as dist

import posterity as po
from posterity.run.runner import Runner

IMPORT_SECONDS = _imports.seconds()

from chainkit import Compilation


def count_leapfrogs() -> list[int]:
    """Leapfrogs of all steps of each stretch: `history` leaves out those of the warm-up."""
    counts: list[int] = []
    original = Runner.stretch

    def counted(*args: Any) -> Any:
        loop, stretch = original(*args)
        counts.append(int(stretch.info["leapfrogs"].sum()))
        return loop, stretch

    Runner.stretch = counted
    return counts


def main() -> None:
    args = arguments()
    data = load(args.data)
    compilation, counts = Compilation(), count_leapfrogs()
    square = dist.transforms.PowerTransform(2.0)
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), square)
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(0, 10), po.likelihoods.Normal(scale=noise))
    method = po.NUTS(chains=4, warmup=args.steps, draws=args.steps)

    def fit() -> po.Posterior:
        return po.fit(model, (data.x_train, data.y_train), method, seed=0, progress=False)

    seconds, posterior = timed(fit)
    fitted()
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=seconds,
        compile_seconds=compilation.seconds,
        leapfrogs=sum(counts),
        kept_leapfrogs=int(posterior.history.leapfrogs.sum()),
        leapfrogs_per_second=sum(counts) / (seconds - compilation.seconds),
    )


main()
