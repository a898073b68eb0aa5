"""LeNet-5 training steps by Posterity."""
# ruff: noqa: E402  (imports are timed)

from __future__ import annotations

import dataclasses

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import numpy as np
import optax

import posterity as po

IMPORT_SECONDS = _imports.seconds()
BATCH = 128


def main() -> None:
    args = arguments()
    data = load(args.data)
    train = (data.x_train, data.y_train)
    model = po.Model(po.nets.LeNet5(), po.priors.Normal(0, 1), po.likelihoods.Categorical(10))
    if args.layers == "plain":
        method = po.MAP(steps=args.steps, batch_size=BATCH, optimizer=optax.adam(1e-3))
    else:
        method = po.ADVI(
            steps=args.steps,
            batch_size=BATCH,
            estimator=args.layers,
            optimizer=optax.adam(1e-3),
            stop=False,
        )

    def fit(steps: int) -> po.Posterior:
        return po.fit(model, train, dataclasses.replace(method, steps=steps), progress=False)

    first, posterior = timed(lambda: fit(args.steps))
    fitted()
    # Two fits of different length: what a step costs beyond what a fit costs.
    fit(3 * args.steps)
    short, _ = timed(lambda: fit(args.steps))
    long, _ = timed(lambda: fit(3 * args.steps))
    figure = "elbo" if args.layers != "plain" else "log_joint"
    losses = -np.asarray(getattr(posterior.history, figure)) / len(data.x_train)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        steps=args.steps,
        steps_per_second=2 * args.steps / (long - short),
        final_loss=float(losses[-10:].mean()),
    )


main()
