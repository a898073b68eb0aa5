"""Writes 32 points of 10 sin(2πx) with noise of sd 1, and 1,000 points far beyond them."""

import sys

import numpy as np

rng = np.random.default_rng(0)
x = np.linspace(-0.5, 0.5, 32)[:, None].astype(np.float32)
y = (10 * np.sin(2 * np.pi * x[:, 0]) + rng.normal(size=32)).astype(np.float32)
grid = np.linspace(-1.5, 1.5, 1_000)[:, None].astype(np.float32)
np.savez(sys.argv[1], x_train=x, y_train=y, x_test=grid, y_test=np.zeros(1_000, np.float32))
