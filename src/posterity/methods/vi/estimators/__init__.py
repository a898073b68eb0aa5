"""Estimators of the expected log likelihood: how the noise of the weights meets the examples."""

from posterity.methods.vi.estimators.estimator import (
    ESTIMATORS,
    Estimator,
    Plan,
    draw_noise,
    expected_log_likelihood,
    plan,
)

__all__ = ["ESTIMATORS", "Estimator", "Plan", "draw_noise", "expected_log_likelihood", "plan"]
