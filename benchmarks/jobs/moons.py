"""Two-moons classification by mean-field variational inference, full batch and minibatch."""

from jobs.spec import Job, Metric, Variant

METRICS = (
    Metric("wall_seconds", "Process start to fitted, seconds", headline=True),
    Metric("steps_per_second", "Steps per second, second fit", digits=0, headline=True),
    Metric("loop_steps_per_second", "Steps per second, the loop alone", digits=0, headline=True),
    Metric("import_seconds", "import, s"),
    Metric("first_fit_seconds", "first fit, s"),
    Metric("second_fit_seconds", "second fit, s"),
    Metric("check_percent", "checking the data, % of a fit", digits=3),
    Metric("final_loss", "final loss"),
    Metric("test_accuracy", "test accuracy", digits=4),
)
OURS = ("ours-cache-off", "ours-cache-cold", "ours-cache-warm", "ours-plain-adam")


def _variants(arguments: tuple[str, ...], bare: tuple[Variant, ...]) -> tuple[Variant, ...]:
    return (
        # PyMC keeps its compiled code as it comes: cold is a model's first run, warm any later one.
        Variant("pymc-cache-cold", "pymc", "moons.py", arguments, cache="cold"),
        Variant("pymc-cache-warm", "pymc", "moons.py", arguments, cache="warm"),
        Variant("numpyro", "numpyro", "moons.py", arguments),
        *bare,
        Variant("ours-cache-off", "ours", "moons.py", arguments),
        Variant("ours-cache-cold", "ours", "moons.py", arguments, cache="cold"),
        Variant("ours-cache-warm", "ours", "moons.py", arguments, cache="warm"),
        # The peers' optimiser from a single start: step for step the job of the bare rows.
        Variant("ours-plain-adam", "ours", "moons.py", (*arguments, "--plain-adam")),
        # The same help for the peer, which is not how it comes: is ours fast, or only its cache?
        Variant("numpyro-cache-warm", "numpyro", "moons.py", arguments, "warm", optional=True),
    )


_BATCH = ("--batch-size", "50")
_SHUFFLED = (*_BATCH, "--sampling", "permuted")

JOBS = (
    Job(
        name="moons-full",
        title="Two moons (2-5-5-1), mean-field ADVI, 30,000 full-batch steps",
        data="moons.py",
        steps=30_000,
        variants=_variants((), (Variant("bare", "bare", "moons.py"),)),
        metrics=METRICS,
        references=OURS,
    ),
    Job(
        name="moons-minibatch",
        title="Two moons (2-5-5-1), mean-field ADVI, 40,000 steps of batch 50",
        data="moons.py",
        steps=40_000,
        variants=_variants(
            _BATCH,
            (
                Variant("bare-replacement", "bare", "moons.py", _BATCH),
                Variant("bare-permuted", "bare", "moons.py", _SHUFFLED),
            ),
        ),
        metrics=METRICS,
        references=OURS,
    ),
)
