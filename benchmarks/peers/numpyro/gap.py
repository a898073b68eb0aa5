"""The sinusoid with a gap by NumPyro's NUTS."""
# ruff: noqa: E402  (imports are timed)

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

IMPORT_SECONDS = _imports.seconds()

from chainkit import Compilation

HIDDEN = 5


def network(x: jax.Array, y: jax.Array) -> None:
    """1-5-1, tanh, N(0, 10) on weights and biases; the root of the noise sd is Gamma(0.5, 1)."""
    wide = dist.Normal(0, 10)
    first = numpyro.sample("first", wide.expand([1, HIDDEN]).to_event(2))
    first_bias = numpyro.sample("first_bias", wide.expand([HIDDEN]).to_event(1))
    last = numpyro.sample("last", wide.expand([HIDDEN]).to_event(1))
    last_bias = numpyro.sample("last_bias", wide)
    root = numpyro.sample("root", dist.Gamma(0.5, 1.0))
    mean = jnp.tanh(x @ first + first_bias) @ last + last_bias
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, root**2), obs=y)


def main() -> None:
    args = arguments()
    if args.chains == "parallel":
        numpyro.set_host_device_count(4)
    data = load(args.data)
    compilation = Compilation()
    mcmc = MCMC(
        NUTS(network),
        num_warmup=args.steps,
        num_samples=args.steps,
        num_chains=4,
        chain_method=args.chains,
        progress_bar=False,
    )
    # The steps of the warm-up, too; `warmup(collect_warmup=True)` would compile twice.
    mcmc._set_collection_params(0, 2 * args.steps, 2 * args.steps)

    def fit() -> np.ndarray:
        x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
        mcmc.run(jax.random.key(0), x, y, extra_fields=("num_steps",))
        return np.asarray(mcmc.get_extra_fields(group_by_chain=True)["num_steps"])

    seconds, steps = timed(fit)
    fitted()
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=seconds,
        compile_seconds=compilation.seconds,
        leapfrogs=int(steps.sum()),
        kept_leapfrogs=int(steps[:, args.steps :].sum()),
        leapfrogs_per_second=float(steps.sum() / (seconds - compilation.seconds)),
    )


main()
