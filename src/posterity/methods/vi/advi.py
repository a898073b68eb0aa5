"""Automatic differentiation variational inference."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.cpu.once import normals, once_marker, run_once
from posterity.distributions.draws import Draws
from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod, Fitted, Review, Stretch
from posterity.methods.vi.cycles import TAIL, Cycles, peak, tolerance
from posterity.methods.vi.estimators.estimator import (
    ESTIMATORS,
    Estimator,
    Plan,
    draw_noise,
    expected_log_likelihood,
    plan,
)
from posterity.methods.vi.families import as_family
from posterity.methods.vi.families.family import AbstractFamily
from posterity.methods.vi.objectives import KL, KLS, draw, kl
from posterity.model.net_target import Batch, Target

NEAR = 0.3  # of the peak step size, where a run starts at modes
SMALL = 1_000  # up to this many parameters, modes differ and steps are cheap: several starts
TICK = np.array([1.0, 0.0, 0.0, 0.0], np.float32)  # one step of the clock
HALVED = np.array([1.0, 1.0, 1.0, 0.5], np.float32)  # after a failure


@dataclasses.dataclass(frozen=True)
class ADVI(AbstractMethod):
    """Variational inference with reparameterised gradients: family × estimator × objective.

        maximise  ELBO(φ) = (N/B) Σ_{i in batch} E_q log p(yᵢ | xᵢ, θ) − KL(q ‖ p)
        over      q(θ; φ) in a family, by default N(mean, diag(sd²)),   θ = mean + sd ε

    The run is a sequence of *cycles*. In each, the step size falls from its peak to zero along a
    cosine, and the iterates of the last fifth are averaged; a cycle's ELBO is that of its last
    fifth. Each cycle is twice as long as the one before, and the best one counts; the last quarter
    of the steps polishes it at a tenth of the peak. The ELBO of a network has optima of different
    height, so that a small one (up to 1,000 parameters) begins every cycle from new initial
    weights; a large one goes on from its best. The run has *converged* when two cycles in a row,
    of 5,000 steps at least, have ended within 0.001 nats per row (0.1 nats at least) of the best
    ELBO, two standard errors included.

    Args:
        steps: number of gradient steps at most, those of all starts counted in.
        batch_size: rows per step; None for all.
        family: ``"mean-field"``, ``"low-rank"``, ``"full-rank"``, ``"flow"``, or one of
            `posterity.methods.vi.families` with settings of its own.
        estimator: how the noise of the weights meets the examples of a batch. ``"shared"``: one
            draw for all. ``"local"``: local reparameterisation. ``"flipout"``: one draw, its signs
            flipped per example. Both give the same gradient with less noise, on any net; a weight
            that they do not fit takes the next best (docs/estimators.md), and
            ``posterior.facts["estimators"]`` says which each got. ``"local-per-position"`` is
            local reparameterisation where it is an approximation, too. Beyond ``"shared"`` the
            family must be mean-field.
        kl: ``"closed"``: in closed form where the prior is normal and the family allows it, else by
            the step's draws. ``"sampled"``: by draws everywhere. ``"sticking"``: by draws, with the
            gradient of Roeder et al. 2017 ("sticking the landing").
        draws: draws of ε per step. antithetic: draw them in pairs ε, −ε.
        kl_warmup: share of a cycle over which the KL's weight rises from 0 to 1.
        kl_weight: weight of the KL; anything but 1 gives another posterior than the Bayesian one,
            and the result says so.
        optimizer: an Optax optimiser, used as it is, with one start unless `starts` says more. Its
            step size is then its own affair; the averaging and the criterion stay. None: Adam.
        step_size: the peak of Adam's step size; None for 0.3 (40/D)^1.5, between 0.001 and 0.3.
            Smaller ones keep to the optimum that a run starts near.
        stop: stop when converged. False uses all steps.
        starts: how many cycles begin from new initial weights; None for 4 up to 1,000 parameters
            and 1 above.
        init_scale: the standard deviation q starts with, in unconstrained units.
        chains: how many times the run is made, each from starts of its own and all in one loop. The
            result is the mixture of what they find, of equal weights: several modes. All have
            cycles of the same lengths, and the run stops early where every one has converged.

    Numbers marked `po.learned` in the prior or the likelihood are optimised with φ.

    Returns from `fit` a posterior with a density over θ (a `Gaussian` for mean-field, a `Mixture`
    for several chains); `history` has ``elbo`` (estimated with the step's draws on its batch, at
    the KL's full weight, along the way to the result), ``step_size`` and ``ok``.

    Raises:
        ValueError: a number out of range, or settings that exclude each other.

    A step whose gradient is not finite is not made: the step size is halved, and it is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.ADVI(steps=4_000), progress=False)
    >>> abs(float(posterior.weights("layers.0.weight").mean()) - 2) < 0.1
    True

    Kucukelbir et al. 2017, "Automatic differentiation variational inference", JMLR 18; Kingma &
    Welling 2014 for the gradient. We depart from the former in the optimiser, the cycles, the
    averaging and the closed-form KL. Bayes by Backprop (Blundell et al. 2015) is this with
    minibatches and `priors.ScaleMixture`.
    """

    steps: int = 30_000
    batch_size: int | None = None
    family: str | AbstractFamily = "mean-field"
    estimator: Estimator = "shared"
    kl: KL = "closed"
    draws: int = 1
    antithetic: bool = False
    kl_warmup: float = 0.0
    kl_weight: float = 1.0
    optimizer: optax.GradientTransformation | None = None
    stop: bool = True
    starts: int | None = None
    init_scale: float = 0.03
    step_size: float | None = None
    chains: int = 1

    traced = ("steps", "kl_weight", "init_scale", "step_size")
    figure = "elbo"
    knows_convergence = True
    learns = True

    def __post_init__(self) -> None:
        wrong = Settings("ADVI")
        wrong.counts(steps=self.steps)
        wrong.counts(none=True, batch_size=self.batch_size)
        wrong.counts(most=MOST_SIDE_BY_SIDE, draws=self.draws, chains=self.chains)
        wrong.counts(most=MOST_SIDE_BY_SIDE, none=True, starts=self.starts)
        wrong.among(ESTIMATORS, estimator=self.estimator)
        wrong.among(KLS, kl=self.kl)
        wrong.positive(init_scale=self.init_scale, kl_weight=self.kl_weight)
        wrong.positive(none=True, step_size=self.step_size)
        begins = f"from 0 to below {1 - TAIL}, where the iterates that are averaged begin"
        wrong.within(lambda share: 0 <= share < 1 - TAIL, begins, kl_warmup=self.kl_warmup)
        wrong.flags(antithetic=self.antithetic, stop=self.stop)
        says = "an Optax optimiser, such as optax.adam(1e-3)"
        wrong.instances(optax.GradientTransformation, says, none=True, optimizer=self.optimizer)
        if self.step_size is not None and self.optimizer is not None:
            wrong.say(
                "step_size: an optimizer has its own; give one of them", "step_size", "optimizer"
            )
        if not wrong.named & {"draws", "antithetic"} and self.antithetic and self.draws % 2:
            wrong.say(f"antithetic draws come in pairs; draws is {self.draws}", "antithetic")
        family = wrong.attempt("family", lambda: as_family(self.family))
        if family is not None and not wrong.named & {"estimator", "kl"}:
            self._check_family(family, wrong)
        wrong.refuse()

    def check(self, target: Target) -> None:
        """Refuse several chains where each would learn numbers of its own, or find a flow."""
        family = as_family(self.family)
        family.prepare(target.size)
        if self.chains == 1:
            return
        if target.slots:
            raise ValueError(
                f"ADVI: chains={self.chains} would each learn {target.slots[0].name} for itself, "
                "and a posterior has one value. Take chains=1, or give it a prior distribution."
            )
        if not family.closed:
            raise ValueError(
                f"ADVI: chains={self.chains} make a mixture, which of flows there is none; take "
                "chains=1 or another family."
            )

    def _check_family(self, family: AbstractFamily, wrong: Settings) -> None:
        if self.estimator != "shared" and not family.independent:
            wrong.say(
                f'estimator="{self.estimator}" needs weights that are independent under q; '
                f'with family={self.family!r} take estimator="shared"',
                "estimator",
            )
        if self.kl == "sticking" and not family.closed:
            wrong.say(
                'kl="sticking" needs the density of any θ, which a flow gives only slowly; '
                'take kl="sampled"',
                "kl",
            )

    @property
    def total_steps(self) -> int:
        return self.steps

    @property
    def evaluations(self) -> float:
        """One for each of the draws."""
        return self.draws

    def start_count(self, target: Target) -> int:
        """How many cycles have a start of their own."""
        if self.starts is not None:
            return self.starts
        return 4 if self.optimizer is None and target.size <= SMALL else 1

    def near_modes(self, target: Target) -> ADVI:
        """With a smaller step size, which does not leave the modes that it starts at."""
        if self.optimizer is not None or self.step_size is not None:
            return self
        return dataclasses.replace(self, step_size=NEAR * peak(target.size))

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> ADVIState:
        """q around θ, before the first cycle."""
        q = as_family(self.family).init(key, theta, self.init_scale)
        numbers = [slot.start for slot in target.slots]
        phi = Phi(q, jnp.asarray(numbers, theta.dtype) if numbers else None)
        clock = jnp.array([0.0, self.steps, 1.0, 1.0], theta.dtype)
        return ADVIState(phi, phi, self._transform().init(phi), clock)

    def step(
        self, key: jax.Array, target: Target, state: ADVIState, batch: Batch
    ) -> tuple[ADVIState, ADVIInfo]:
        """One reparameterised gradient step, and the running average of the iterates."""
        at, length, highest, size = state.clock
        warm = jnp.minimum((at + 1) / (self.kl_warmup * length), 1.0) if self.kl_warmup else 1.0

        once, family = once_marker(at, target.size), as_family(self.family)

        def loss(phi: Phi) -> tuple[jax.Array, jax.Array]:
            here = target if phi.numbers is None else target.at(phi.numbers)
            log_likelihood, divergence = self._terms(key, here, family.opened(phi.q), batch, once)
            return -here.elbo(log_likelihood, divergence, warm), here.elbo(
                log_likelihood, divergence
            )

        (_, elbo), gradient = jax.value_and_grad(loss, has_aux=True)(state.phi)
        update, optimizer = self._transform().update(gradient, state.optimizer, state.phi)
        if self.optimizer is None:
            size = -size * highest * 0.5 * (1 + jnp.cos(jnp.pi * at / length))
        phi = jax.tree.map(lambda value, move: value + size * move, state.phi, update)
        # Uniform weights over the tail: 1, 1/2, 1/3, …; before the tail the average is the iterate.
        into_tail = at - (1 - TAIL) * length
        weight = 1 / jnp.maximum(into_tail + 1, 1)
        average = jax.tree.map(lambda old, new: old + weight * (new - old), state.average, phi)
        ok = jnp.isfinite(elbo + sum(map(jnp.sum, jax.tree.leaves(phi))))
        state = ADVIState(phi, average, optimizer, state.clock + TICK)
        return state, ADVIInfo(elbo, jnp.abs(size), ok)

    def _terms(
        self, key: jax.Array, target: Target, phi: Any, batch: Batch, once: Any
    ) -> tuple[jax.Array, jax.Array]:
        """The expected log likelihood, scaled, and the KL: both estimated with one set of draws."""
        family, chosen = as_family(self.family), plan(target, self.estimator)
        different = self.draws // 2 if self.antithetic else self.draws
        shape = different, family.noise_size(target.size)
        noise = normals(key, shape, target.dtype, once)
        if self.antithetic:
            noise = jnp.concatenate([noise, -noise])
        thetas, log_q = run_once(
            lambda phi, noise: draw(family, phi, noise, self.kl), once, phi, noise
        )
        each = self._per_example(chosen, key, different, batch, once)

        def expected(theta: jax.Array, each: Any) -> jax.Array:
            moments = family.mean_and_sd(phi) if each is not None else (theta, theta)
            return expected_log_likelihood(target, chosen, moments, theta, each, batch)

        if self.draws == 1:
            # One draw needs no batched products, which are slower than plain ones on a CPU.
            log_likelihood = expected(thetas[0], jax.tree.map(lambda leaf: leaf[0], each))
        else:
            log_likelihood = jnp.mean(jax.vmap(expected)(thetas, each))
        return log_likelihood, kl(target, family, phi, thetas, log_q)

    def _per_example(
        self, chosen: Plan, key: jax.Array, different: int, batch: Batch, once: jax.Array | None
    ) -> Any:
        """Noise per draw and example, or None where all weights take the shared draw."""
        if chosen.shared:
            return None
        rows = batch.y.shape[0]
        flat = draw_noise(chosen, key, different * rows, float_dtype(), once)
        each = jax.tree.map(lambda leaf: leaf.reshape(different, rows, -1), flat)
        if not self.antithetic:
            return each
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), each, each.mirrored())

    def theta(self, state: ADVIState) -> jax.Array:
        return as_family(self.family).centre(state.phi.q)

    def retreat(self, state: ADVIState) -> ADVIState:
        """The same q with half the step size; the clock goes on, so that a cycle ends."""
        return state._replace(clock=(state.clock + TICK) * HALVED)

    def _transform(self) -> optax.GradientTransformation:
        return optax.scale_by_adam() if self.optimizer is None else self.optimizer

    @property
    def note(self) -> str:
        """That the KL was warmed up, where it was."""
        if not self.kl_warmup:
            return ""
        return (
            f"The weight of the KL rose from 0 to {self.kl_weight:g} over the first "
            f"{self.kl_warmup:.0%} of each cycle."
        )

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """Warnings where doubling the run still paid, starts disagree, or no estimator applied."""
        idle = self._idle_estimator(target)
        return idle if memory is None else idle + memory.advice(tolerance(target), self.steps)

    def _idle_estimator(self, target: Target) -> list[str]:
        if self.estimator == "shared" or not plan(target, self.estimator).shared:
            return []
        return [
            f'estimator="{self.estimator}" applied to no weight: the net does something else with '
            "each than multiply, or uses each in several ways. All took the shared draw, whose "
            "gradients are noisier."
        ]

    # -- cycles -----------------------------------------------------------------------------------

    def review(self, target: Target, states: list[Any], done: list[Stretch], memory: Any) -> Review:
        """Lengthen the run cycle by cycle until it pays no more, then polish the best."""
        if memory is None:
            size, ours = self.step_size or peak(target.size), self.optimizer is None
            memory = Cycles.plan(self.steps, states, size, scheduled=ours, stop=self.stop)
            return self._begin(memory, states[0])
        memory.record(states[0], done, tolerance(target))
        if self.stop:
            memory.end_if_idle()
        if not memory.lengths:
            return Review(memory.best, 0, memory, converged=memory.converged)
        return self._begin(memory, memory.start())

    def _begin(self, memory: Cycles, state: Any) -> Review:
        length = memory.lengths.pop(0)
        clock = np.array(state.clock)  # (chain, 4): what failures have left of the step size stays
        clock[:, :3] = 0, length, memory.peak
        return Review(state._replace(clock=clock), length, memory)

    def finish(self, target: Target, state: Any, draws: Draws | None, memory: Any) -> Fitted:
        """The averaged q; after an interruption in mid-cycle, that of the best finished cycle."""
        found, facts = self._result(state, memory), dict[str, Any]()
        if self.estimator != "shared":
            facts["estimators"] = plan(target, self.estimator).by_path()
        if found.numbers is not None:
            numbers = found.numbers[0]
            facts["learned"] = {
                slot.name: float(slot.constrain(number))
                for slot, number in zip(target.slots, numbers)
            }
            target = target.at(numbers)
        return Fitted(as_family(self.family).mixture(found.q), target, facts)

    def _result(self, state: Any, memory: Any) -> Phi:
        if self.optimizer is None and memory is not None and memory.best is not None:
            state = memory.best
        return state.average


class Phi(NamedTuple):
    """What is optimised: the family's φ, and the numbers to be learned (None: there are none)."""

    q: Any
    numbers: jax.Array | None


class ADVIState(NamedTuple):
    """q, its average over the tail of the cycle, the optimiser, and where in the cycle we are.

    `clock` is [steps made, length, peak step size, what failures have left of it]: one array, since
    each number of its own would cost a small net's loop a hundredth of its time.
    """

    phi: Phi
    average: Phi
    optimizer: Any
    clock: jax.Array


class ADVIInfo(NamedTuple):
    """What a step reports: the ELBO's estimate before it, its size, and whether it was finite."""

    elbo: jax.Array
    step_size: jax.Array
    ok: jax.Array
