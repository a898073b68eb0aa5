"""Deterministic automatic differentiation variational inference."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.distributions.draws import Draws
from posterity.distributions.normal import FullRank, Gaussian
from posterity.methods.method import AbstractMethod, Fitted, Review, Stretch
from posterity.methods.vi.families.family import equal_mixture
from posterity.methods.vi.newton import ENOUGH, newton_step, next_radius, response
from posterity.methods.vi.objectives import closed_kl
from posterity.model.net_target import Batch, Target

LEAST_DRAWS = 30
MOST_ROWS = 2**20  # rows times draws, up to which draws are added of themselves
MOST_NUMBERS = 2**26  # of noise: 256 MiB in float32
STRETCH = 8  # outer iterations between two looks at convergence
ROUNDING = 8.0  # units in the last place that the objective may be off by
LARGEST_RESPONSE = 2_000  # parameters: a Hessian of (2D)² numbers and its factor
WORTH_A_WORD = 0.01  # nats per row that the fixed draws' ELBO may exceed that of new ones by
FAR = 1.0  # norm of the gradient at which no run is at its optimum, in nats per unit,
ROUNDED = 1e-5  # but for what float32 makes of the ELBO
SLOW = 5.0  # seconds per outer iteration from which on a run is worth a warning
OPTIMISE, RESPOND, DONE = 0, 1, 2  # what a state is about


@dataclasses.dataclass(frozen=True)
class DADVI(AbstractMethod):
    """Mean-field variational inference with fixed draws and a second-order optimiser.

        maximise  ELBO(φ) = (1/S) Σₛ log p(y | x, mean + sd εₛ) − KL(q ‖ p),   ε₁ … ε_S fixed
        over      q(θ) = N(mean, diag(sd²)),   φ = (mean, log sd)

    As the draws are fixed the objective is a plain function. A trust-region Newton method finds
    its optimum in some dozens of outer iterations (some hundreds where a network's optimum lies at
    the end of a curved valley) and knows when it is there: there is no step size, no schedule and
    no averaging. Each outer iteration solves for the Newton step by conjugate
    gradients on Hessian-vector products, in the units of q's own Fisher information (mean / sd and
    √2 log sd), and has *converged* when the gradient in these units is below `tolerance`.

    For small models: each product costs two to three gradients of S draws on all rows, and there
    are up to 100 per outer iteration. Where an iteration takes more than 5 seconds the result says
    so; `ADVI` and `IVON` in batches are then the better choice.

    Linear response. q's standard deviations ignore correlations and are too small for it. How q's
    mean answers to a small tilt exp(tᵀθ) of the posterior gives covariances that do not:

        Cov(θ) ≈ d mean / d t = [ H⁻¹ ]_mean,mean,   H = −∇² ELBO at the optimum

    It is exact where the posterior is normal and D ≤ S/2.

    Args:
        steps: outer iterations at most; one more for the linear response.
        draws: S, the fixed draws; an even number. None: 2 D where that makes no more than a
            million rows in all (S N), and 30 at least. They are drawn from the seed in pairs
            (ε, −ε) and scaled so that every element has mean square 1; where D ≤ S/2 they are
            uncorrelated too, which makes the ELBO of a quadratic log likelihood exact. With fewer,
            a network finds weights that suit just these draws: the ELBO of new ones is in the
            history, and where it is far below, the result says so.
        tolerance: on the norm of the gradient; nats per unit. Rounding sets a limit of its own,
            about 1e-6 of the ELBO in float32.
        linear_response: replace q by a normal of the same mean with the linear-response covariance;
            for up to 2,000 parameters.
        init_scale: the standard deviation q starts with, in unconstrained units.
        kl_weight: weight of the KL; anything but 1 gives another posterior than the Bayesian one,
            and the result says so.
        chains: how many optima are looked for, each from a start and with draws of its own; all in
            one loop, which ends when the last has converged.

    Returns from `fit` a posterior with a `Gaussian` over θ, or a `FullRank` with `linear_response`
    (of several chains their `Mixture`, of equal weights); `history` has ``elbo`` (of the fixed
    draws), ``fresh_elbo`` (of as many new ones), ``gradient_norm``, ``radius`` of the trust region,
    ``products`` (Hessian-vector products made), ``still`` (whether the optimum was reached) and
    ``ok``.

    Raises:
        ValueError: a number out of range, or too large a model: more than 2²⁶ numbers in the draws,
            or more than 2,000 parameters for linear response.

    A step to where the ELBO is not finite is not made: the trust region is cut to a quarter, and it
    is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.DADVI(), progress=False)
    >>> posterior.result.code.value
    'converged'

    Giordano, Ingram & Broderick 2024, "Black box variational inference with a deterministic
    objective: faster, more accurate, and even more black box", JMLR 25. We depart in the draws,
    which are paired, matched to the normal's moments, and more where there are more parameters (30
    there); in the KL, which is in closed form where the prior is normal; and in the units of the
    trust region (Steihaug 1983, SIAM J. Numer. Anal. 20).
    """

    steps: int = 1_000
    draws: int | None = None
    tolerance: float = 1e-3
    linear_response: bool = False
    init_scale: float = 0.03
    kl_weight: float = 1.0
    chains: int = 1

    traced = ("steps", "tolerance", "init_scale", "kl_weight")
    figure = "elbo"
    fewest_steps = 0  # its criterion says whether it has converged
    knows_convergence = True

    def __post_init__(self) -> None:
        wrong = Settings("DADVI")
        wrong.counts(steps=self.steps)
        wrong.counts(most=MOST_SIDE_BY_SIDE, chains=self.chains)
        wrong.counts(none=True, draws=self.draws)  # `check` knows how many a model bears
        if self.draws is not None and "draws" not in wrong.named and self.draws % 2:
            wrong.say(f"draws come in pairs; give an even number, not {self.draws}", "draws")
        wrong.positive(tolerance=self.tolerance, init_scale=self.init_scale)
        wrong.positive(kl_weight=self.kl_weight)
        wrong.flags(linear_response=self.linear_response)
        wrong.refuse()

    @property
    def total_steps(self) -> int:
        """`steps`, and one for the linear response."""
        return self.steps + int(self.linear_response)

    def check(self, target: Target) -> None:
        """Refuse what is too large."""
        count = self._count(int(target.rows), target.size)
        if count * target.size > MOST_NUMBERS:
            raise ValueError(
                f"DADVI: {count} fixed draws of {target.size} parameters are more "
                f"than {MOST_NUMBERS:,} numbers; it is for small models. Take ADVI or IVON."
            )
        if self.linear_response and target.size > LARGEST_RESPONSE:
            raise ValueError(
                f"DADVI: linear_response factors a Hessian of (2 · {target.size})² numbers; it is "
                f"for up to {LARGEST_RESPONSE} parameters. Leave it out, or use ADVI with a "
                "family that has correlations."
            )

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> DADVIState:
        """q around θ before the first outer iteration."""
        log_sd = jnp.full_like(theta, jnp.log(self.init_scale))
        size = target.size if self.linear_response else 0
        return DADVIState(
            phi=jnp.stack([theta, log_sd]),
            radius=jnp.asarray(math.sqrt(target.size), theta.dtype),
            noise=jax.random.key_data(key),
            phase=jnp.full((), OPTIMISE, jnp.int32),
            chol=jnp.zeros((size, size), theta.dtype),
        )

    def step(
        self, key: jax.Array, target: Target, state: DADVIState, batch: Batch
    ) -> tuple[DADVIState, DADVIInfo]:
        """One outer iteration, or the linear response; a state that is done stays."""
        # The batch is all rows, and their number decides about shapes.
        count = self._count(row_count(batch), target.size)
        noise = fixed_noise(state.noise, count, state.phi[0])

        def loss(phi: jax.Array) -> jax.Array:
            return -fixed_elbo(target, phi, noise, batch)

        start = state.phi
        # The elements of φ in units of q's Fisher information: it is 1 / sd² and 2.
        unit = jnp.stack([jnp.exp(start[1]), jnp.full_like(start[1], math.sqrt(0.5))])
        value = loss(start)
        gradient, hessian = jax.linearize(jax.grad(loss), start)
        gradient = unit * gradient
        norm = jnp.linalg.norm(gradient)
        rounding = ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value)
        moving = (state.phase == OPTIMISE) & (norm > jnp.maximum(self.tolerance, rounding))
        move = newton_step(lambda v: unit * hessian(unit * v), gradient, state.radius, moving)
        trial = loss(start + unit * move.step)
        # Near the optimum gains drown in rounding, and the model is the better judge.
        ratio = (value - trial + rounding) / (move.gain + rounding)
        phi = jnp.where(ratio > ENOUGH, start + unit * move.step, start)
        radius = jnp.where(moving, next_radius(state.radius, move.step, ratio), state.radius)
        state = state._replace(phi=phi, radius=radius)
        if self.linear_response:
            state = jax.lax.cond(
                state.phase == RESPOND,
                lambda: state._replace(
                    chol=response(hessian, unit, target.kl_weight),
                    phase=jnp.full((), DONE, jnp.int32),
                ),
                lambda: state,
            )
        fresh = fixed_elbo(target, start, jax.random.normal(key, noise.shape, noise.dtype), batch)
        ok = jnp.isfinite(value + norm + trial)
        info = DADVIInfo(-value, fresh, norm, state.radius, move.products, ~moving, ok)
        return state, info

    def _count(self, rows: int, size: int) -> int:
        """S, for N rows and D parameters."""
        if self.draws is not None:
            return self.draws
        return max(LEAST_DRAWS, min(2 * size, MOST_ROWS // rows // 2 * 2))

    def theta(self, state: DADVIState) -> jax.Array:
        return state.phi[0]

    def retreat(self, state: DADVIState) -> DADVIState:
        """The same q with a quarter of the trust region."""
        return state._replace(radius=state.radius / 4)

    # -- convergence ------------------------------------------------------------------------------

    def review(self, target: Target, states: list[Any], done: list[Stretch], memory: Any) -> Review:
        """Stretches of some outer iterations until one ends at the optimum."""
        memory = memory or Progress()
        memory.tick(done)
        if memory.responded:
            return Review(states[0], 0, memory, converged=memory.converged)
        last = done[-1].info if done else None
        memory.converged = last is not None and bool((last["still"] & last["ok"])[:, -1].all())
        left = self.steps - sum(stretch.info["ok"].shape[1] for stretch in done)
        if left > 0 and not memory.converged:
            return Review(states[0], min(STRETCH, left), memory)
        if not self.linear_response:
            return Review(states[0], 0, memory, converged=memory.converged)
        memory.responded = True
        phase = np.full_like(states[0].phase, RESPOND)
        return Review(states[0]._replace(phase=phase), 1, memory)

    def finish(self, target: Target, state: Any, draws: Draws | None, memory: Any) -> Fitted:
        """q; with linear response its mean with that covariance, where there is one."""
        mean, sd = state.phi[:, 0], np.exp(state.phi[:, 1])
        if not self.linear_response:
            return Fitted(equal_mixture([Gaussian(*found) for found in zip(mean, sd)]), target)
        known = np.all(np.diagonal(state.chol, axis1=1, axis2=2) > 0, axis=1)
        memory.without_response = not known.all()
        chols: list[Any] = [
            chol if there else np.diag(each) for chol, there, each in zip(state.chol, known, sd)
        ]
        return Fitted(equal_mixture([FullRank(*found) for found in zip(mean, chols)]), target)

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """Warnings about a run that has not converged, was slow, or has no linear response."""
        advice: list[str] = []
        if (said := _lax(info, self.tolerance)) and memory.converged:
            advice.append(said)
        if not memory.converged and info["gradient_norm"].size:
            norm = info["gradient_norm"][:, -1].max()
            advice.append(
                f"The gradient's norm is {norm:.2g}, above the tolerance "
                f"{self.tolerance:g}: the run has not converged. Raise steps above {self.steps:,}."
            )
        if (excess := _excess(target, info)) > 0:
            count = self._count(int(target.rows), target.size)
            advice.append(
                f"The ELBO of the fixed draws is {excess:.1f} nats above that of new ones: q has "
                f"been fitted to the {count} draws. Raise draws."
            )
        if memory.without_response:
            advice.append(
                "There is no linear response, as the ELBO is not concave where the run ended; the "
                "covariance is q's own, without correlations. Raise steps or draws, or start "
                "elsewhere (another seed)."
            )
        if (seconds := memory.seconds) > SLOW:
            advice.append(
                f"An outer iteration took {seconds:.0f} seconds: the model or the data are large "
                "for this method. ADVI or IVON with batch_size will be faster."
            )
        return advice


class DADVIState(NamedTuple):
    """φ = [mean, log sd] (2, D), the trust region, and what the draws are made from.

    `phase` is OPTIMISE, then RESPOND and DONE for the linear response, whose factor is `chol`:
    (D, D), or (0, 0) where it is not wanted.
    """

    phi: jax.Array
    radius: jax.Array
    noise: jax.Array
    phase: jax.Array
    chol: jax.Array


class DADVIInfo(NamedTuple):
    """What a step reports: of the state it starts from, but for the radius it leaves.

    `still` is whether that state is at the optimum, so that no step was made.
    """

    elbo: jax.Array
    fresh_elbo: jax.Array
    gradient_norm: jax.Array
    radius: jax.Array
    products: jax.Array
    still: jax.Array
    ok: jax.Array


@dataclasses.dataclass
class Progress:
    """What is remembered between stretches.

    Attributes:
        converged: whether the last stretch ended at the optimum.
        responded: whether the linear response was asked for.
        without_response: whether it was asked for and is not there.
        seconds: the longest outer iteration so far, compilation left out.
        since: when the stretch under way began.
    """

    converged: bool = False
    responded: bool = False
    without_response: bool = False
    seconds: float = 0.0
    since: float = 0.0

    def tick(self, done: list[Stretch]) -> None:
        """Take the time of the stretch just finished; the first one compiles and does not count."""
        now = time.perf_counter()
        if len(done) > 1:
            self.seconds = max(self.seconds, (now - self.since) / done[-1].info["ok"].shape[1])
        self.since = now


def _lax(info: dict[str, np.ndarray], tolerance: float) -> str:
    """The sentence where a tolerance ended the run far from any optimum; empty where not."""
    if not info["gradient_norm"].size:
        return ""
    norm, elbo = info["gradient_norm"][:, -1].max(), np.abs(info["elbo"][:, -1]).max()
    if norm <= max(FAR, ROUNDED * elbo):
        return ""
    return (
        f"Cannot judge: the gradient's norm is {norm:.2g} nats per unit, within the tolerance "
        f"{tolerance:g} that ended the run, and no optimum. Lower tolerance; 1e-3 is the default."
    )


def _excess(target: Target, info: dict[str, np.ndarray]) -> float:
    """Nats by which the ELBO of the fixed draws clearly exceeds that of new ones; 0 where not."""
    worst = 0.0
    for elbo, fresh in zip(info["elbo"], info["fresh_elbo"]):
        late = fresh[-STRETCH:].astype(np.float64)
        late = late[np.isfinite(late)]
        if late.size < 2:
            continue
        gap = float(elbo[-1]) - float(late.mean())
        doubt = 4 * float(late.std(ddof=1)) / math.sqrt(late.size)
        if gap - doubt > max(1.0, WORTH_A_WORD * target.rows):
            worst = max(worst, gap)
    return worst


def row_count(batch: Any) -> int:
    """N of a batch of all rows; 1 of a program's arguments, which are one piece."""
    return getattr(batch, "rows", None) or batch.y.shape[0]


# -- the objective --------------------------------------------------------------------------------


def fixed_noise(key_data: jax.Array, draws: int, like: jax.Array) -> jax.Array:
    """Standard normal noise (draws, D) in pairs (ε, −ε), with mean square 1 in every column.

    Where D ≤ draws / 2, the columns are uncorrelated too: all moments up to the third are those of
    the normal.
    """
    key = jax.random.wrap_key_data(key_data)
    noise = jax.random.normal(key, (draws // 2, like.size), like.dtype)
    if like.size <= draws // 2:
        # With the diagonal's signs, Q is the same function of the noise on every platform.
        noise, triangle = jnp.linalg.qr(noise)
        noise = noise * jnp.sign(jnp.diag(triangle))
    noise = noise / jnp.sqrt(jnp.mean(noise**2, axis=0))
    return jnp.concatenate([noise, -noise])


def fixed_elbo(target: Target, phi: jax.Array, noise: jax.Array, batch: Batch) -> jax.Array:
    """The ELBO of φ = [mean, log sd] with given noise (draws, D)."""
    mean, sd = phi[0], jnp.exp(phi[1])
    thetas = mean + sd * noise
    each = jax.vmap(lambda theta: target.scaled_log_likelihood(theta, batch))(thetas)
    return target.elbo(jnp.mean(each), closed_kl(target, mean, sd, thetas))
