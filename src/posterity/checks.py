"""One checker for what users set: every problem of one call, in one message."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# The largest counts. A run of 10⁸ steps takes a day where a step takes a millisecond; what is
# repeated side by side (chains, draws in a step) takes memory each time, and so stops earlier.
MOST = 10**8
MOST_SIDE_BY_SIDE = 10_000
MOST_WIDE = 10**7  # numbers in one layer of a net
MOST_NUMBERS = 2**31 - 1  # in θ, and steps of a run: both are counted in 32 bits

SHOWN = 60  # characters of a value that a message repeats


class Settings:
    """What is wrong with the arguments of one call, gathered and then refused together.

    Each method takes arguments by name and adds a sentence for each that is out of its range. With
    ``none=True`` None stands for "not given" and passes.

    Args:
        owner: what is called, as messages name it.

    >>> wrong = Settings("Walk")
    >>> wrong.counts(draws=0, chains=2)
    >>> wrong.positive(step_size=float("nan"))
    >>> wrong.refuse()
    Traceback (most recent call last):
        ...
    ValueError: Walk: draws must be a whole number from 1, not 0; step_size must be positive and
    finite, not nan.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.problems: list[str] = []
        self.named: set[str] = set()

    def counts(
        self, *, least: int = 1, most: int = MOST, none: bool = False, **values: Any
    ) -> None:
        """Whole numbers from `least` to `most`."""
        for name, value in values.items():
            if value is None and none:
                continue
            if not is_whole(value) or value < least:
                self.add(name, f"must be a whole number from {least}, not {said(value)}")
            elif value > most:
                self.add(name, f"must be a whole number from {least} to {most:,}, not {value:,}")

    def positive(self, *, none: bool = False, **values: Any) -> None:
        """Numbers above 0."""
        self._reals(lambda v: 0 < v < math.inf, "must be positive and finite", none, values)

    def nonnegative(self, *, none: bool = False, **values: Any) -> None:
        """Numbers from 0."""
        self._reals(lambda v: 0 <= v < math.inf, "must be 0 or more, and finite", none, values)

    def fractions(self, *, none: bool = False, **values: Any) -> None:
        """Numbers between 0 and 1."""
        self._reals(lambda v: 0 < v < 1, "must lie between 0 and 1", none, values)

    def finite(self, *, none: bool = False, **values: Any) -> None:
        """Numbers that are neither infinite nor NaN."""
        self._reals(math.isfinite, "must be finite", none, values)

    def within(
        self, holds: Callable[[float], bool], says: str, *, none: bool = False, **values: Any
    ) -> None:
        """Numbers of which `holds` is true; `says` completes "must be"."""
        self._reals(holds, f"must be {says}", none, values)

    def flags(self, *, none: bool = False, **values: Any) -> None:
        """True or False."""
        for name, value in values.items():
            if not (isinstance(value, (bool, np.bool_)) or (none and value is None)):
                options = "True, False or None" if none else "True or False"
                self.add(name, f"must be {options}, not {said(value)}")

    def among(self, words: Sequence[str], *, none: bool = False, **values: Any) -> None:
        """One of `words`."""
        for name, value in values.items():
            if not ((isinstance(value, str) and value in words) or (none and value is None)):
                listed = ", ".join(f'"{word}"' for word in words)
                self.add(name, f"must be one of {listed}, not {said(value)}")

    def instances(self, kind: Any, says: str, *, none: bool = False, **values: Any) -> None:
        """Objects of a class; `says` completes "must be"."""
        for name, value in values.items():
            if not (isinstance(value, kind) or (none and value is None)):
                self.add(name, f"must be {says}, not {said(value)}")

    def functions(self, *, none: bool = False, **values: Any) -> None:
        """Anything that can be called."""
        for name, value in values.items():
            if not (callable(value) or (none and value is None)):
                self.add(name, f"must be a function, not {said(value)}")

    def sizes(
        self, name: str, given: Any, *, least: int = 0, most: int = MOST_WIDE, length: int = -1
    ) -> tuple[int, ...]:
        """A list of whole numbers from 1, as a tuple; empty where it is refused.

        Args:
            name: of the argument. given: its value. least: how many at least.
            most: the largest of them. length: how many there must be; −1 for any number.
        """
        if isinstance(given, (str, bytes)) or not np.iterable(given):
            self.add(name, f"must be a list of whole numbers from 1, not {said(given)}")
            return ()
        found = tuple(np.asarray(given, object).ravel()) if _is_array(given) else tuple(given)
        before = len(self.problems)
        if length >= 0 and len(found) != length:
            self.add(name, f"must have {length} numbers, not {len(found)}")
        elif len(found) < least:
            self.add(name, f"must have at least {least} numbers, not {len(found)}")
        for index, each in enumerate(found):
            self.counts(most=most, **{f"{name}[{index}]": each})
            if len(self.problems) > before:
                return ()
        return tuple(map(int, found)) if len(self.problems) == before else ()

    def attempt(self, name: str, build: Callable[[], Any]) -> Any:
        """What `build` returns; where it refuses the argument `name`, its message is a problem."""
        try:
            return build()
        except (TypeError, ValueError) as error:
            text = str(error).removeprefix(f"{self.owner}: ").rstrip(".")
            self.named.add(name)
            self.problems.append(text if name in text else f"{name}: {text}")
            return None

    def add(self, name: str, problem: str) -> None:
        """One problem of the argument `name`, which is told only once."""
        if name in self.named:
            return
        self.named.add(name)
        self.problems.append(f"{name} {problem}")

    def say(self, problem: str, *names: str) -> None:
        """A problem of arguments that are each in range, but not together."""
        if not self.named & set(names):
            self.problems.append(problem)

    def refuse(self, error: type[Exception] = ValueError) -> None:
        """Raise what is wrong, if anything is.

        Args:
            error: what is raised, with all problems in its message.
        """
        if self.problems:
            raise error(f"{self.owner}: {'; '.join(self.problems)}.")

    def _reals(
        self, holds: Callable[[Any], bool], says: str, none: bool, values: dict[str, Any]
    ) -> None:
        for name, value in values.items():
            if value is None and none:
                continue
            if not is_real(value) or not holds(float(value)):
                self.add(name, f"{says}, not {said(value)}")


def is_whole(given: Any) -> bool:
    """Whether it is an integer, and no truth value."""
    return isinstance(given, numbers.Integral) and not isinstance(given, bool)


def is_real(given: Any) -> bool:
    """Whether it is one real number, an array without axes included, and no truth value."""
    if isinstance(given, numbers.Real):
        return not isinstance(given, bool)
    return _is_array(given) and np.shape(given) == () and np.dtype(given.dtype).kind in "iuf"


def said(value: Any) -> str:
    """A value as a message repeats it: short, whatever it is."""
    if _is_array(value) and np.shape(value):
        return f"an array of shape {tuple(np.shape(value))}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _is_array(given: Any) -> bool:
    return hasattr(given, "dtype") and hasattr(given, "shape") and not isinstance(given, type)
