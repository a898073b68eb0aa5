"""LeNet-5 on images, and the wave: variational inference beside the layer libraries."""

from jobs.spec import Job, Metric, Variant

LENET = (
    Metric("steps_per_second", "Training steps per second, compiled", digits=1, headline=True),
    Metric("import_seconds", "import, s"),
    Metric("first_fit_seconds", "first steps with compilation, s"),
    Metric("final_loss", "loss at the end, nats per image", digits=3),
)
WAVE = (
    Metric("wall_seconds", "Process start to fitted, seconds", headline=True),
    Metric("first_fit_seconds", "Fit with compilation, seconds", headline=True),
    Metric("predict_seconds", "500 draws at 1,000 points, seconds", digits=4, headline=True),
    Metric("second_fit_seconds", "second fit, s"),
    Metric("import_seconds", "import, s"),
    Metric("final_loss", "negative ELBO at the end"),
    Metric("band_ratio", "band outside ÷ inside the data"),
)

JOBS = (
    Job(
        name="lenet",
        title="LeNet-5, batches of 128 images, Adam 1e-3: training steps",
        data="lenet.py",
        steps=100,
        variants=(
            Variant("tfp-flipout", "tfp", "lenet.py", ("--layers", "flipout")),
            Variant("tfp-plain", "tfp", "lenet.py", ("--layers", "plain")),
            Variant("torch-plain", "torch", "lenet.py", ("--layers", "plain")),
            Variant("bayesian-torch-flipout", "torch", "lenet.py", ("--layers", "flipout")),
            Variant("bayesian-torch-shared", "torch", "lenet.py", ("--layers", "shared")),
            Variant("ours-flipout", "ours", "lenet.py", ("--layers", "flipout")),
            Variant("ours-shared", "ours", "lenet.py", ("--layers", "shared")),
            Variant("ours-plain", "ours", "lenet.py", ("--layers", "plain")),
        ),
        metrics=LENET,
        references=("ours-flipout", "ours-shared", "ours-plain"),
    ),
    Job(
        name="wave",
        title="The wave: 32 rows, MLP 1-20-20-1, trainable normal prior, 1,500 full-batch steps",
        data="wave.py",
        steps=1_500,
        variants=(
            Variant("tfp-dense-variational", "tfp", "wave.py"),
            Variant("ours-cache-off", "ours", "wave.py"),
            Variant("ours-cache-warm", "ours", "wave.py", cache="warm"),
        ),
        metrics=WAVE,
        references=("ours-cache-off", "ours-cache-warm"),
    ),
)
