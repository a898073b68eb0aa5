"""The wave by TensorFlow Probability's DenseVariational, as its regression example writes it."""
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
PREDICTED = 20  # of the 500 draws: each is a call, and 500 would only take longer
tfd = tfp.distributions


def posterior(kernel_size: int, bias_size: int = 0, dtype: object = None) -> keras.Sequential:
    """Independent normals with trainable means and scales."""
    n = kernel_size + bias_size
    c = np.log(np.expm1(1.0))
    return keras.Sequential(
        [
            tfp.layers.VariableLayer(2 * n, dtype=dtype),
            tfp.layers.DistributionLambda(
                lambda t: tfd.Independent(
                    tfd.Normal(loc=t[..., :n], scale=1e-5 + tf.nn.softplus(c + t[..., n:])),
                    reinterpreted_batch_ndims=1,
                )
            ),
        ]
    )


def prior(kernel_size: int, bias_size: int = 0, dtype: object = None) -> keras.Sequential:
    """Normals of scale one with trainable means."""
    n = kernel_size + bias_size
    return keras.Sequential(
        [
            tfp.layers.VariableLayer(n, dtype=dtype),
            tfp.layers.DistributionLambda(
                lambda t: tfd.Independent(tfd.Normal(loc=t, scale=1.0), reinterpreted_batch_ndims=1)
            ),
        ]
    )


def main() -> None:
    args = arguments()
    data = load(args.data)
    x, y = data.x_train, data.y_train[:, None]

    def fit() -> tuple[keras.Sequential, float]:
        layers = [
            tfp.layers.DenseVariational(n, posterior, prior, kl_weight=1.0, activation=activation)
            for n, activation in ((20, "relu"), (20, "relu"), (1, None))
        ]
        net = keras.Sequential([keras.layers.Input(shape=(1,)), *layers])
        net.compile(
            loss=lambda truth, mean: tf.reduce_sum(-tfd.Normal(mean, 1.0).log_prob(truth)),
            optimizer=keras.optimizers.Adam(0.03),
        )
        history = net.fit(x, y, batch_size=32, epochs=args.steps, verbose=0)
        return net, float(np.mean(history.history["loss"][-100:]))

    first, (net, loss) = timed(fit)
    fitted()
    net.predict(data.x_test, verbose=0)
    seconds, draws = timed(
        lambda: np.stack([net.predict(data.x_test, verbose=0)[:, 0] for _ in range(PREDICTED)])
    )
    inside = np.abs(data.x_test[:, 0]) <= 0.5
    band = draws.std(0)
    report(
        import_seconds=IMPORT_SECONDS,
        first_fit_seconds=first,
        second_fit_seconds=first,  # Keras traces a new net anew
        predict_seconds=seconds * 500 / PREDICTED,
        steps=args.steps,
        final_loss=loss,
        band_ratio=float(band[~inside].mean() / band[inside].mean()),
    )


main()
