"""Stochastic-gradient Markov chains on two moons: steps and draws per second."""

from jobs.spec import Job, Metric, Variant

BATCH = ("--batch-size", "50")
STEPS = (
    Metric("steps_per_second", "Steps per second, second fit", digits=0, headline=True),
    Metric("loop_steps_per_second", "Steps per second, the loop alone", digits=0, headline=True),
    Metric("wall_seconds", "Process start to draws, seconds", headline=True),
    Metric("import_seconds", "import, s"),
    Metric("compile_seconds", "compilation, s"),
    Metric("first_fit_seconds", "first fit, s"),
    Metric("second_fit_seconds", "second fit, s"),
    Metric("steps", "steps", digits=0),
    Metric("test_accuracy", "test accuracy", digits=4),
)
DRAWS = Metric("draws_per_second", "Draws per second, second fit", digits=0, headline=True)


def _variant(name: str) -> Variant:
    """A row by its name: peer, method, and how."""
    peer, _, method = name.partition("-")
    return Variant(name, peer, "moons_sgmcmc.py", (*BATCH, "--method", method))


JOBS = (
    Job(
        name="moons-sgmcmc",
        title="Two moons (2-5-5-1), batches of 50, one chain, every tenth of 200,000 steps kept",
        data="moons.py",
        steps=200_000,  # posteriors makes a fiftieth of them
        variants=(
            _variant("posteriors-sgld"),
            _variant("posteriors-sgld-inplace"),
            _variant("bare-sgld"),
            # What else one finds in a profile: noise of ten steps at once, a cheaper permutation.
            _variant("bare-sgld-tuned"),
            _variant("ours-sgld"),
            _variant("posteriors-sghmc"),
            _variant("posteriors-sghmc-inplace"),
            _variant("bare-sghmc"),
            _variant("bare-sghmc-tuned"),
            _variant("ours-sghmc"),
        ),
        metrics=STEPS,
        references=("bare-sgld", "bare-sghmc", "posteriors-sgld", "posteriors-sghmc"),
        repeats=3,
    ),
    Job(
        name="moons-sgfs",
        title="Two moons (2-5-5-1), SGFS with batches of 50, 4,500 draws after as many steps",
        data="moons.py",
        steps=4_500,  # draws; the warm-up is as long
        variants=(_variant("ours-sgfs"), _variant("ours-sgfs-fisher")),
        metrics=(DRAWS, *STEPS),
        references=(),
    ),
)
