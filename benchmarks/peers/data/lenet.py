"""Writes 6,000 images of noise with labels: what is timed does not look at what they show."""

import sys

import numpy as np

rng = np.random.default_rng(0)
x = rng.random((6_000, 28, 28, 1), np.float32)
y = rng.integers(0, 10, 6_000)
np.savez(sys.argv[1], x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
