"""Moons by Posterity's stochastic-gradient samplers."""
# ruff: noqa: E402  (imports are timed)

from __future__ import annotations

from typing import Any

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax.numpy as jnp
import numpy as np

import posterity as po

IMPORT_SECONDS = _imports.seconds()

from chainkit import Compilation

THIN = 10
HALVINGS = 45  # of the step size of SGFS in a run: every 100 steps in one of 4,500 draws


def sampler(name: str, steps: int, batch_size: int) -> Any:
    """The method of that name. Those beside peers make no warm-up, SGFS makes its own."""
    peers: dict[str, Any] = {"warmup": 0, "thin": THIN, "draws": steps // THIN}
    if name == "sgld":
        return po.SGLD(step_size=1e-4, batch_size=batch_size, **peers)
    if name == "sghmc":
        return po.SGHMC(step_size=1e-2, batch_size=batch_size, **peers)
    base = "fisher" if name == "sgfs-fisher" else None
    return po.SGFS(
        draws=steps,
        batch_size=batch_size,
        step_size=0.1,
        step_size_decay=steps / HALVINGS,
        preconditioner=base,
    )


def main() -> None:
    args = arguments()
    data = load(args.data)
    compilation = Compilation()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    method = sampler(args.method, args.steps, args.batch_size)

    def fit(method: Any, seed: int) -> po.Posterior:
        train = (data.x_train, data.y_train)
        return po.fit(model, train, method, seed=seed, progress=False)

    first, posterior = timed(lambda: fit(method, 0))
    fitted()
    compiled = compilation.seconds
    second, _ = timed(lambda: fit(method, 1))
    # What a step costs beyond what a fit costs: a longer fit against this one.
    times = 10 if args.method.startswith("sgfs") else 2
    longer = sampler(args.method, times * args.steps, args.batch_size)
    fit(longer, 2)  # compiles
    seconds, _ = timed(lambda: fit(longer, 1))
    more = (longer.total_steps - method.total_steps) / (seconds - second)
    labels = np.asarray(posterior.predict(data.x_test).label).reshape(-1)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        compile_seconds=compiled,
        second_fit_seconds=second,
        steps=method.total_steps,
        steps_per_second=method.total_steps / second,
        loop_steps_per_second=more,
        draws_per_second=method.draws / second,
        test_accuracy=float((labels == data.y_test).mean()),
    )


main()
