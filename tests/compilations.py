"""What JAX compiles, by name."""

from __future__ import annotations

import logging

import jax


class Compilations(logging.Handler):
    """The names of the functions that JAX compiled while the handler was attached."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Compiling "):
            self.names.append(text.split()[1])

    def __enter__(self) -> Compilations:
        logging.getLogger("jax").addHandler(self)
        self._context = jax.log_compiles(True)
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)
        logging.getLogger("jax").removeHandler(self)
