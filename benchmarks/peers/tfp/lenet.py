"""LeNet-5 training steps by TensorFlow Probability, as its Bayesian neural network example."""
# ruff: noqa: E402  (imports are timed)

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from childkit import Clock, arguments, fitted, load, report, timed

_imports = Clock()
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as keras

IMPORT_SECONDS = _imports.seconds()
BATCH = 128


def lenet(kind: str) -> keras.Sequential:
    """The same net of either kind of layer."""
    flipout = kind == "flipout"
    conv = tfp.layers.Convolution2DFlipout if flipout else keras.layers.Conv2D
    dense = tfp.layers.DenseFlipout if flipout else keras.layers.Dense
    same = {"kernel_size": 5, "padding": "SAME", "activation": "relu"}
    return keras.Sequential(
        [
            conv(6, **same),
            keras.layers.MaxPooling2D(2, 2, padding="SAME"),
            conv(16, **same),
            keras.layers.MaxPooling2D(2, 2, padding="SAME"),
            conv(120, **same),
            keras.layers.Flatten(),
            dense(84, activation="relu"),
            dense(10),
        ]
    )


def main() -> None:
    args = arguments()
    data = load(args.data)
    tf.random.set_seed(0)
    rng = np.random.default_rng(0)
    net = lenet(args.layers)
    net(data.x_train[:BATCH])
    optimizer = keras.optimizers.Adam(1e-3)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = net(x)
            likelihood = tfp.distributions.Categorical(logits=logits).log_prob(y)
            kl = tf.add_n(net.losses) / len(data.x_train) if net.losses else 0.0
            loss = -tf.reduce_mean(likelihood) + kl
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables))
        return loss

    def train(steps: int) -> float:
        for _ in range(steps):
            chosen = rng.integers(0, len(data.x_train), BATCH)
            loss = step(data.x_train[chosen], data.y_train[chosen])
        return float(loss)

    first, _ = timed(lambda: train(10))
    fitted()
    seconds, loss = timed(lambda: train(args.steps))
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        steps=args.steps,
        steps_per_second=args.steps / seconds,
        final_loss=loss,
    )


main()
