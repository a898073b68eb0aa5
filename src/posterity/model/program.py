"""A NumPyro program as a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx

from posterity.copying import Frozen


class ProgramModel(Frozen):
    """A model that is a NumPyro program; see `posterity.Model.from_numpyro`.

    Args:
        program: a function of arrays and plain numbers, with `numpyro.sample`, `plate`,
            `deterministic` and `factor` in it.

    Raises:
        TypeError: it cannot be called, or has no hash to be known again by.
    """

    program: Callable[..., Any] = eqx.field(static=True)

    def __init__(self, program: Callable[..., Any]) -> None:
        if not callable(program):
            raise TypeError(
                f"program: expected a function with numpyro.sample in it, got "
                f"{type(program).__name__}."
            )
        try:
            hash(program)
        except TypeError as error:
            raise TypeError(
                f"program: a {type(program).__name__} has no hash, by which its compiled form is "
                "found again; wrap it in a function."
            ) from error
        self.program = program

    @property
    def predicts(self) -> bool:
        """False: it has no rows of x."""
        return False
