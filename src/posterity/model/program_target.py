"""The target of a NumPyro program: its latent sites as flat unconstrained θ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.transforms import biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.util import (
    compute_log_probs,
    constrain_fn,
    find_valid_initial_params,
    potential_energy,
    unconstrain_fn,
)

from posterity.layout import Block, Parameter
from posterity.learnable import Slot
from posterity.model.arguments import Arguments
from posterity.model.program import ProgramModel
from posterity.model.target import AbstractTarget, Weights, check_counts
from posterity.storable import Given, stored


@stored("targets.Program")
class ProgramTarget(AbstractTarget):
    """Log densities of flat unconstrained θ for a NumPyro program and its arguments.

        log p(θ)     = Σ over latent sites of log p(z) + log |dz / dθ|,   z = T(θ)
        log p(y | θ) = Σ over observed sites and factors, as one row

    θ holds the latent sites in the order of the program, each mapped to the real line by NumPyro's
    `biject_to`, as NumPyro's own samplers have it. Built by `ProgramTarget.build`.

    Attributes:
        program: the NumPyro program. arguments: what it was fitted to.
        free_shapes: of the unconstrained value of each site, in the order of `parameters`.
        deterministic: names of the deterministic sites. observed: of observed sites and factors.
        improper: names of sites whose prior cannot be drawn from.
    """

    program: Callable[..., Any] = eqx.field(static=True)
    arguments: Arguments
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    free_shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    deterministic: tuple[str, ...] = eqx.field(static=True)
    observed: tuple[str, ...] = eqx.field(static=True)
    improper: tuple[str, ...] = eqx.field(static=True)
    kl_weight: Any
    temperature: Any
    rows: Any
    slots: tuple[Slot, ...] = eqx.field(static=True)

    def stored_as(self) -> dict[str, Any]:
        """What `build` takes, for files: program and data are given again."""
        program = Given("model", "the model is a NumPyro program")
        arguments = Given("data", "the data of a NumPyro program")
        return {
            "program": program,
            "arguments": arguments,
            "kl_weight": float(self.kl_weight),
            "temperature": float(self.temperature),
        }

    @classmethod
    def from_stored(
        cls, program: Any, arguments: Any, kl_weight: float, temperature: float
    ) -> ProgramTarget:
        """The inverse of `stored_as`, with `Arguments`."""
        check_counts(arguments.rows, kl_weight, temperature)
        return cls.build(ProgramModel(program), arguments, kl_weight, temperature)

    @classmethod
    def build(
        cls,
        model: ProgramModel,
        arguments: Arguments,
        kl_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> ProgramTarget:
        """The target of `model` for given arguments; the program is run once, abstractly.

        Raises:
            ValueError: the program does not take such arguments, or has a site that no method here
                can deal with; the message names the site and the remedy.
        """
        sites = trace_sites(model.program, arguments)
        latent = [site for site in sites if site.kind == "latent"]
        if not latent:
            raise ValueError(
                "program: it has no latent site (numpyro.sample without obs), so nothing can be "
                "learned."
            )
        parameters: list[Parameter] = []
        for site in latent:
            start = parameters[-1].stop if parameters else 0
            stop = start + int(np.prod(site.free_shape))
            parameters.append(Parameter(site.name, site.shape, start, stop))
        target = cls(
            program=model.program,
            arguments=arguments,
            parameters=tuple(parameters),
            free_shapes=tuple(site.free_shape for site in latent),
            deterministic=tuple(site.name for site in sites if site.kind == "deterministic"),
            observed=tuple(site.name for site in sites if site.kind == "observed"),
            improper=tuple(site.name for site in latent if site.improper),
            slots=(),
            **Weights.of(arguments.rows, kl_weight, temperature)._asdict(),
        )
        for path in target.improper:
            _refuse_moving_support(target, path)
        return target

    @property
    def derived(self) -> tuple[str, ...]:
        """The names of the deterministic sites."""
        return self.deterministic

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{name}: the model is a NumPyro program, which has no net, no rows of x and no y. Use "
            "posterior.weights, summary, replicate or to_arviz."
        )

    # -- θ and what it stands for ----------------------------------------------------------------

    def constrain(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The value of every latent site."""
        return self._constrain(theta, self.arguments)

    def values(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The value of every latent and deterministic site."""
        found = constrain_fn(
            *self._called(self.arguments), self._free(theta), return_deterministic=True
        )
        return {name: found[name] for name in (*self.paths, *self.derived)}

    def unconstrain(self, params: Mapping[str, Any]) -> jax.Array:
        """θ from the value of every latent site.

        Raises:
            ValueError: a site is missing, unknown or of another shape.
        """
        free = unconstrain_fn(*self._called(self.arguments), self.checked(params))
        return self._flat(free)

    def _free(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The unconstrained value of every latent site."""
        return {
            parameter.path: theta[parameter.start : parameter.stop].reshape(shape)
            for parameter, shape in zip(self.parameters, self.free_shapes)
        }

    def _flat(self, free: Mapping[str, jax.Array]) -> jax.Array:
        return jnp.concatenate([jnp.ravel(free[path]) for path in self.paths]).astype(self.dtype)

    def _called(
        self, arguments: Arguments, program: Callable[..., Any] | None = None
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Program, positional and keyword arguments, as NumPyro's functions take them."""
        return seeded(program or self.program), *arguments.unpacked

    def _constrain(self, theta: jax.Array, arguments: Arguments) -> dict[str, jax.Array]:
        found = constrain_fn(*self._called(arguments), self._free(theta))
        return {path: found[path] for path in self.paths}

    # -- the model as densities -------------------------------------------------------------------

    def log_prior(self, theta: jax.Array, *, jacobian: bool = True) -> jax.Array:
        """log p of the latent sites: of θ, or of their values with ``jacobian=False``."""
        if not jacobian:
            each, _ = compute_log_probs(*self._called(self.arguments), self.constrain(theta))
            return self._sum(each, self.paths)
        # NumPyro adds the Jacobians as factors of its own, so that only the program's are hidden.
        prior = handlers.block(self.program, hide=list(self.observed))
        return -potential_energy(*self._called(self.arguments, prior), self._free(theta))

    def log_likelihood(self, theta: jax.Array, batch: Arguments) -> jax.Array:
        """log p of the observed sites and factors, summed: (1,)."""
        each, _ = compute_log_probs(*self._called(batch), self._constrain(theta, batch))
        return self._sum(each, self.observed)[None]

    def _sum(self, each: Mapping[str, jax.Array], names: tuple[str, ...]) -> jax.Array:
        return sum((each[name] for name in names), start=jnp.zeros((), self.dtype))

    # -- the prior's own affairs ------------------------------------------------------------------

    def normal_blocks(self) -> tuple[list[tuple[Block, Any, Any]], tuple[Parameter, ...]]:
        """None, and everything: a site's prior may depend on other sites."""
        return [], self.parameters

    def log_prior_of(self, theta: jax.Array, blocks: tuple[Any, ...]) -> jax.Array:
        """All of `log_prior`, which is not divided."""
        return self.log_prior(theta)

    def prior_draw(self, key: jax.Array) -> jax.Array:
        """One draw of θ from the prior.

        Raises:
            ValueError: a site has an improper prior.
        """
        if self.improper:
            raise ValueError(
                f"program: the prior of site {self.improper[0]!r} is improper and cannot be drawn "
                'from. Start elsewhere (init="net" for a random finite point), or give the site '
                "a proper prior."
            )
        args, kwargs = self.arguments.unpacked
        drawn = handlers.trace(handlers.seed(self.program, key)).get_trace(*args, **kwargs)
        return self.unconstrain({path: drawn[path]["value"] for path in self.paths})

    def net_draw(self, key: jax.Array) -> jax.Array:
        """θ uniform in (−2, 2)ᴰ, drawn again up to 100 times until its density is finite."""
        program, args, kwargs = self._called(self.arguments)
        (free, *_), _ = find_valid_initial_params(
            key,
            program,
            init_strategy=init_to_uniform(),
            model_args=args,
            model_kwargs=kwargs,
            prototype_params=self._free(jnp.zeros(self.size, self.dtype)),
        )
        return self._flat(free)


def seeded(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program with a key of its own, should it ask for one (`numpyro.prng_key`)."""
    return handlers.seed(program, jax.random.key(0))


# -- what is in a program -------------------------------------------------------------------------


class Site(NamedTuple):
    """What has to be known of a site before it has a value.

    Attributes:
        kind: ``"latent"``, ``"observed"`` (factors, too) or ``"deterministic"``.
        shape, free_shape: of its value, and of its unconstrained value where it is latent.
        improper: whether its prior cannot be drawn from.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    free_shape: tuple[int, ...] = ()
    improper: bool = False


def trace_sites(program: Callable[..., Any], arguments: Arguments) -> list[Site]:
    """The sites of a program, in its order.

    Raises:
        ValueError: the program does not take such arguments, or has a site that cannot be sampled
            as part of θ.
    """
    found: list[Site] = []

    def run(arguments: Arguments) -> None:
        args, kwargs = arguments.unpacked
        started = handlers.substitute(seeded(program), substitute_fn=init_to_uniform())
        try:
            traced = handlers.trace(started).get_trace(*args, **kwargs)
        except Exception as error:
            raise ValueError(cannot_run(error)) from error
        found.extend(filter(None, map(_site, traced.values())))

    jax.eval_shape(run, arguments)
    return found


def cannot_run(error: Exception, name: str = "data") -> str:
    """What to tell of an error that a program raised, and of the arguments `name` it was given."""
    said = str(error).strip().splitlines() or [""]
    message = (
        f"{name}: the program cannot take these arguments; it raised {type(error).__name__}: "
        f"{said[0].removesuffix('.')}."
    )
    if isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError):
        message += (
            " Arrays are traced, so that their values must not decide what the program does or how "
            "long its arrays are: give it such numbers as arguments of their own (plain numbers "
            "are constants), or bind the array with functools.partial."
        )
    return message


def _site(site: dict[str, Any]) -> Site | None:
    """What is known of a traced site; None where it has no part in densities.

    Raises:
        ValueError: it cannot be a part of θ.
    """
    name, kind = site["name"], site["type"]
    if kind == "deterministic":
        return Site(name, "deterministic")
    if kind == "plate" and site["args"][1] not in (None, site["args"][0]):
        size, part = site["args"]
        raise ValueError(
            f"program: plate {name!r} draws {part} of {size} rows anew at every run, which these "
            "methods would take for data. Leave subsample_size out."
        )
    if kind in ("param", "mutable"):
        raise ValueError(
            f"program: {name!r} is a numpyro.{kind}, which is optimised and not sampled. Give it a "
            "prior with numpyro.sample, or a value."
        )
    if kind != "sample":
        return None
    return Site(name, "observed") if site["is_observed"] else _latent(site)


def _latent(site: dict[str, Any]) -> Site:
    name, prior = site["name"], site["fn"]
    if prior.support.is_discrete:
        raise ValueError(
            f"program: site {name!r} is latent and discrete ({type(prior).__name__}), so it has no "
            "gradient. Sum it out (dist.MixtureSameFamily), or observe it with obs=."
        )
    if isinstance(_base(prior), dist.Delta):
        raise ValueError(
            f"program: site {name!r} has a Delta distribution; name such a value with "
            "numpyro.deterministic instead."
        )
    try:
        transform = biject_to(prior.support)
    except NotImplementedError as error:
        raise ValueError(
            f"program: site {name!r} ({type(prior).__name__}) has a support that no transform maps "
            f"to the real line ({prior.support}). Reparameterise it (numpyro.handlers.reparam)."
        ) from error
    shape = jnp.shape(site["value"])
    improper = isinstance(_base(prior), dist.ImproperUniform)
    return Site(name, "latent", shape, tuple(transform.inverse_shape(shape)), improper)


def _base(prior: Any) -> Any:
    """The distribution under expansions, event dimensions and masks."""
    while isinstance(prior, (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)):
        prior = prior.base_dist
    return prior


def _refuse_moving_support(target: ProgramTarget, path: str) -> None:
    """Refuse an improper prior over a region that other sites decide: its width would not count."""

    def bounds(theta: jax.Array) -> list[Any]:
        args, kwargs = target.arguments.unpacked
        known = handlers.substitute(seeded(target.program), data=target.constrain(theta))
        site = handlers.trace(known).get_trace(*args, **kwargs)[path]
        return jax.tree.leaves(_base(site["fn"]).support)

    jaxpr = jax.make_jaxpr(bounds)(jnp.zeros(target.size, target.dtype)).jaxpr
    moving = {id(variable) for variable in jaxpr.invars}
    for equation in jaxpr.eqns:
        if any(id(variable) in moving for variable in equation.invars):
            moving.update(map(id, equation.outvars))
    if any(id(variable) in moving for variable in jaxpr.outvars):
        raise ValueError(
            f"program: site {path!r} has an improper prior on a region that other sites decide; "
            "the density of a wider region would not be lower. Use a proper prior, such as "
            "dist.Uniform, or a region that is fixed."
        )
