"""Writes the two moons, standardised and halved, to the .npz file named on the command line."""

import sys

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

x, y = make_moons(noise=0.2, random_state=0, n_samples=1000)
x_train, x_test, y_train, y_test = train_test_split(
    scale(x).astype(np.float32), y.astype(np.float32), test_size=0.5, random_state=1
)
np.savez(sys.argv[1], x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
