"""What stochastic-gradient samplers share: settings, schedule, gradient and what they learn."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.checks import Settings, is_whole
from posterity.methods.sampler import AbstractSampler
from posterity.methods.sgmcmc.learning import MEMORY, Learning
from posterity.methods.sgmcmc.schedules import AbstractSchedule, Cyclical
from posterity.methods.sgmcmc.variates import Variates, check_variates

REST = 1e-3  # of the first step size: a chain then moves a thousandth of what it did


class Going(NamedTuple):
    """What every stochastic-gradient run carries along.

    Attributes:
        at: steps made. shrink: what failed steps have left of the step size. anchor: of the
        control variates. learned: in the warm-up.
    """

    at: jax.Array
    shrink: jax.Array
    anchor: Any
    learned: Any


class StochasticInfo(NamedTuple):
    """What a step reports: the batch's log joint before it, ε, and whether all was finite."""

    log_joint: jax.Array
    step_size: jax.Array
    ok: jax.Array


class Now(NamedTuple):
    """What holds for one step.

    Attributes:
        factor: of the schedule and of failures, on ε. heat: the temperature of the injected noise,
        0 while a cycle explores. learns: whether the run still warms up or explores.
    """

    factor: jax.Array
    heat: jax.Array
    learns: jax.Array


class AbstractStochastic(AbstractSampler):
    """A sampler that sees a batch per step.

    Subclasses hold the settings `draws`, `step_size`, `batch_size`, `warmup`, `thin`, `chains`,
    `schedule`, `control_variates` and `temperature`, and states with a field `going`.
    """

    step_size: float | None
    schedule: AbstractSchedule
    control_variates: str | None

    figure = "log_joint"
    also = ("step_size",)
    apart = True

    def _settings(self) -> Settings:
        """What is wrong with the settings that all have; the warm-up is set where not given."""
        if self.warmup is None and is_whole(self.draws) and is_whole(self.thin):
            cyclical = isinstance(self.schedule, Cyclical)
            object.__setattr__(self, "warmup", 0 if cyclical else self.draws * self.thin)
        wrong = self._run_settings(warmup=0)
        wrong.counts(none=True, batch_size=self.batch_size)
        wrong.positive(none=True, step_size=self.step_size)
        wrong.nonnegative(temperature=self.temperature)
        check_variates(wrong, self.control_variates, self.batch_size)
        says = "one of po.schedules (a constant step size is step_size=…)"
        wrong.instances(AbstractSchedule, says, schedule=self.schedule)
        cycle = self.schedule.sample if isinstance(self.schedule, Cyclical) else 0
        if cycle and "thin" not in wrong.named and cycle % self.thin:
            wrong.say(
                f"a cycle samples for {cycle} steps, which is no multiple of "
                f"thin={self.thin}; change one of them"
            )
        return wrong

    def _check(self, wrong: Settings) -> None:
        """Refuse what is wrong, or a run without the time to learn what it needs.

        Raises:
            ValueError: any setting is.
        """
        wrong.refuse()
        learning = self._learning
        wanted = learning.noise or learning.curvature or learning.squares
        if wanted and not self._learns_sometime:
            wrong.say(
                "with warmup=0 there is no time to learn what step_size=None or the "
                "preconditioner need; give a warm-up or a step size"
            )
        wrong.refuse()

    @property
    def _learns_sometime(self) -> bool:
        return self.warmup > 0 or isinstance(self.schedule, Cyclical)

    @property
    def _learning(self) -> Learning:
        """What is to be learned in the warm-up: by default what an automatic step size needs."""
        automatic = self.step_size is None
        return Learning(automatic, automatic, squares=False, memory=self._memory)

    @property
    def _memory(self) -> Any:
        """How many steps the averages look back on: the last quarter of the warm-up."""
        if isinstance(self.warmup, int):
            return max(MEMORY, self.warmup // 4)
        return jnp.maximum(MEMORY, self.warmup // 4)

    @property
    def _variates(self) -> Variates:
        return Variates(self.control_variates)

    def steps_for(self, kept: int) -> int:
        """Exploring parts included."""
        return self.schedule.steps(kept)

    def keeps(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the steps after the warm-up, by number, belong to the result."""
        return np.asarray(self.schedule.sampling(numbers))  # type: ignore[arg-type]

    def retreat(self, state: Any) -> Any:
        """The same place, at rest where there is a momentum, with half the step size."""
        going: Going = state.going
        halved = going._replace(shrink=going.shrink / 2)
        return state._replace(going=halved, **self._at_rest(state))

    def _at_rest(self, state: Any) -> dict[str, jax.Array]:
        """The fields of a state that a failed step sets back: none by default."""
        return {}

    def _begin(self, theta: jax.Array) -> Going:
        one = jnp.ones((), theta.dtype)
        anchor, learned = self._variates.init(theta), self._learning.init(theta)
        return Going(jnp.zeros((), jnp.int32), one, anchor, learned)

    def _now(self, going: Going) -> Now:
        t = going.at - self.warmup
        dtype = going.shrink.dtype
        factor = going.shrink * self.schedule.factor(jnp.maximum(t, 0)).astype(dtype)
        if isinstance(self.schedule, Cyclical):
            learns = ~self.schedule.sampling(t)
            heat = jnp.where((t >= 0) & learns, 0.0, self.temperature)
            return Now(factor, heat.astype(dtype), learns)
        return Now(factor, jnp.asarray(self.temperature, dtype), t < 0)

    def advice(self, target: Any, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """A sentence where the step size has fallen so far that draws repeat one another."""
        sizes = np.atleast_2d(info["step_size"])
        if not self.schedule.falls or sizes.shape[1] < 2:
            return []
        still = float(np.mean(sizes < REST * sizes[:, :1]))
        if still < 0.1:
            return []
        return [
            f"For {still:.0%} of the kept steps the step size was below {REST:g} of the first: the "
            "chain came to rest, and those draws nearly repeat one another. Let it fall more "
            "slowly, or keep it constant."
        ]
