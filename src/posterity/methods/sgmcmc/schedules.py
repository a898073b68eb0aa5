"""Step-size schedules: what a step size is multiplied by as a run goes on."""

# No `from __future__ import annotations`: the fields are read at run time.
import dataclasses
from abc import ABC, abstractmethod

import jax
import jax.numpy as jnp

from posterity.checks import Settings
from posterity.storable import stored


class AbstractSchedule(ABC):
    """ε_t = step_size × factor(t), where t counts the steps after the warm-up.

    Attributes:
        falls: whether ε goes to zero, and the draws with it come to rest.
    """

    falls: bool = False

    @abstractmethod
    def factor(self, t: jax.Array) -> jax.Array:
        """What the step size is multiplied by at step t ≥ 0."""

    def sampling(self, t: jax.Array) -> jax.Array:
        """Whether step t belongs to the result; always, unless a schedule also explores."""
        return t >= 0

    def steps(self, kept: int) -> int:
        """How many steps it takes for `kept` of them to belong to the result."""
        return kept


@stored("schedules.Constant")
@dataclasses.dataclass(frozen=True)
class Constant(AbstractSchedule):
    """ε_t = step_size.

    A constant step size has a bias that does not vanish, and a chain that does not come to rest:
    what most runs of finite length want (Vollmer, Zygalakis & Teh 2016).

    >>> float(Constant().factor(jnp.array(10)))
    1.0
    """

    def factor(self, t: jax.Array) -> jax.Array:
        """1."""
        return jnp.ones(())


CONSTANT = Constant()


@stored("schedules.Halving")
@dataclasses.dataclass(frozen=True)
class Halving(AbstractSchedule):
    """ε_t = step_size · 2^(−t / decay).

    Args:
        decay: steps in which ε halves. After twenty of them nothing moves any more, whatever the
            step size: draws beyond that repeat one another.

    >>> float(Halving(100).factor(jnp.array(200)))
    0.25
    """

    decay: float

    falls = True

    def __post_init__(self) -> None:
        wrong = Settings("Halving")
        wrong.positive(decay=self.decay)
        wrong.refuse()

    def factor(self, t: jax.Array) -> jax.Array:
        """2^(−t / decay)."""
        return jnp.exp2(-t / self.decay)


@stored("schedules.Polynomial")
@dataclasses.dataclass(frozen=True)
class Polynomial(AbstractSchedule):
    """ε_t = step_size · (1 + t / delay)^(−power).

    Welling and Teh's a (b + t)^(−γ), with a = step_size · delay^γ and b = delay. Σ ε_t diverges and
    Σ ε_t² does not for a power in (½, 1], so that the bias vanishes in a run without end; a power
    of ⅓ is the fastest for averages over the run (Teh, Thiery & Vollmer 2016).

    Args:
        delay: b, steps before ε falls in earnest. power: γ in (0, 1].

    >>> float(Polynomial(10, power=0.5).factor(jnp.array(30)))
    0.5
    """

    delay: float
    power: float = 1 / 3

    falls = True

    def __post_init__(self) -> None:
        wrong = Settings("Polynomial")
        wrong.positive(delay=self.delay)
        wrong.within(lambda power: 0 < power <= 1, "above 0 and at most 1", power=self.power)
        wrong.refuse()

    def factor(self, t: jax.Array) -> jax.Array:
        """(1 + t / delay)^(−power)."""
        return (1 + t / self.delay) ** -self.power


@stored("schedules.Cyclical")
@dataclasses.dataclass(frozen=True)
class Cyclical(AbstractSchedule):
    """Cycles that explore with long steps and no noise, then sample with shorter and shorter ones.

        ε_t = step_size · ½ (cos(π r) + 1),   r = (t mod cycle) / cycle,   cycle = explore + sample

    A run has as many cycles as its draws need. Nothing is kept, and no noise is added, while it
    explores; each cycle samples another mode where there are several.

    Args:
        explore, sample: steps of each part of a cycle. `sample` must be a multiple of `thin`.

    >>> schedule = Cyclical(explore=80, sample=20)
    >>> [bool(schedule.sampling(jnp.array(t))) for t in (0, 79, 80, 99, 100)]
    [False, False, True, True, False]
    >>> schedule.steps(50)
    290

    Zhang, Li, Zhang, Chen & Wilson 2020, "Cyclical stochastic gradient MCMC".
    """

    explore: int
    sample: int

    def __post_init__(self) -> None:
        wrong = Settings("Cyclical")
        wrong.counts(explore=self.explore, sample=self.sample)
        wrong.refuse()

    @property
    def cycle(self) -> int:
        """Steps of one cycle."""
        return self.explore + self.sample

    def factor(self, t: jax.Array) -> jax.Array:
        """½ (cos(π r) + 1)."""
        return 0.5 * (jnp.cos(jnp.pi * (t % self.cycle) / self.cycle) + 1)

    def sampling(self, t: jax.Array) -> jax.Array:
        """Whether step t is in the sampling part of its cycle."""
        return (t >= 0) & (t % self.cycle >= self.explore)

    def steps(self, kept: int) -> int:
        """Whole exploring parts before, and `kept` steps of sampling ones."""
        return kept + -(-kept // self.sample) * self.explore
