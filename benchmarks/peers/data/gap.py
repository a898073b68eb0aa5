"""Writes the sinusoid with a gap to the .npz file named on the command line."""

import sys

import numpy as np

rng = np.random.default_rng(42)
x = np.concatenate([np.linspace(-0.2, 0.2, 500), np.linspace(0.6, 1.0, 500)])
eps = 0.02 * rng.normal(size=len(x))
y = x + 0.3 * np.sin(2 * np.pi * (x + eps)) + 0.3 * np.sin(4 * np.pi * (x + eps)) + eps
x, y = x[:, None].astype(np.float32), y.astype(np.float32)
np.savez(sys.argv[1], x_train=x, y_train=y, x_test=x, y_test=y)
