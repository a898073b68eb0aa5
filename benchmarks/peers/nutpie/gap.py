"""The sinusoid with a gap by nutpie's NUTS on a PyMC model, in its own (double) precision."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, Data, arguments, fitted, load, report, timed

_imports = Clock()
from typing import Any

import nutpie
import pymc as pm

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 5


def build(data: Data) -> pm.Model:
    """1-5-1, tanh, N(0, 10) on weights and biases; the root of the noise sd is Gamma(0.5, 1)."""
    x, y = data.x_train.astype(float), data.y_train.astype(float)
    with pm.Model() as model:
        first = pm.Normal("first", 0, 10, shape=(1, HIDDEN))
        first_bias = pm.Normal("first_bias", 0, 10, shape=HIDDEN)
        last = pm.Normal("last", 0, 10, shape=HIDDEN)
        last_bias = pm.Normal("last_bias", 0, 10)
        root = pm.Gamma("root", 0.5, 1.0)
        hidden = pm.math.tanh(pm.math.dot(x, first) + first_bias)
        pm.Normal("y", pm.math.dot(hidden, last) + last_bias, root**2, observed=y)
    return model


def main() -> None:
    args = arguments()
    data = load(args.data)
    compiling, compiled = timed(lambda: nutpie.compile_pymc_model(build(data)))

    def sample() -> Any:
        return nutpie.sample(
            compiled,
            draws=args.steps,
            tune=args.steps,
            chains=4,
            seed=0,
            progress_bar=False,
        )

    seconds, trace = timed(sample)
    fitted()
    kept = int(trace.sample_stats["n_steps"].sum())
    leapfrogs = kept + int(trace.warmup_sample_stats["n_steps"].sum())
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=compiling + seconds,
        compile_seconds=compiling,
        leapfrogs=leapfrogs,
        kept_leapfrogs=kept,
        leapfrogs_per_second=leapfrogs / seconds,
    )


main()
