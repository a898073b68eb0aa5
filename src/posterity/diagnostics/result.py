"""What a run has to say for itself: result codes that read as advice."""

from __future__ import annotations

import dataclasses
import enum


class Code(enum.Enum):
    """How a run ended."""

    CONVERGED = "converged"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended, and every warning about it, as sentences of advice.

    Attributes:
        code: converged (by the method's own criterion), completed (all steps were used),
            interrupted (by the user; what was fitted so far is kept), or failed (no finite step
            could be made from some point on; the last finite state is kept).
        message: one sentence that says what happened.
        warnings: what to know before the posterior is trusted.
    """

    code: Code
    message: str
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True unless the run failed or there are warnings."""
        return self.code is not Code.FAILED and not self.warnings

    def __str__(self) -> str:
        return "\n".join([f"{self.code.value}: {self.message}", *self.warnings])

    def to_json(self) -> dict[str, object]:
        """Plain data, for files and machines."""
        return {"code": self.code.value, "message": self.message, "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, data: dict) -> Result:
        """The inverse of `to_json`."""
        return cls(Code(data["code"]), str(data["message"]), tuple(map(str, data["warnings"])))
