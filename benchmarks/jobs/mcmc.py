"""Markov chains: leapfrogs per second where paths are long, and effective draws per second."""

from jobs.spec import Job, Metric, Variant

GAP = (
    Metric("leapfrogs_per_second", "Leapfrogs per second, compilation apart", 0, True),
    Metric("wall_seconds", "Process start to draws, seconds", headline=True),
    Metric("import_seconds", "import, s"),
    Metric("compile_seconds", "compilation, s"),
    Metric("first_fit_seconds", "fit with compilation, s"),
    Metric("leapfrogs", "leapfrogs", digits=0),
    Metric("kept_leapfrogs", "of them after warm-up", digits=0),
)
MOONS = (
    Metric("ess_per_second", "Bulk ESS per second, second fit", digits=1, headline=True),
    Metric("ess_per_cold_second", "Bulk ESS per second, cold process", digits=1, headline=True),
    Metric("wall_seconds", "process start to draws, s"),
    Metric("second_fit_seconds", "second fit, s"),
    Metric("gradients", "gradients kept", digits=0),
    Metric("ess", "ESS", digits=0),
    Metric("rhat", "r-hat", digits=3),
    Metric("nll", "test NLL", digits=4),
    Metric("nll_error", "its Monte Carlo error", digits=4),
)


def _numpyro(script: str) -> tuple[Variant, ...]:
    """The ways in which NumPyro runs four chains on a CPU."""
    return (
        Variant("numpyro-parallel", "numpyro", script, ("--chains", "parallel")),
        # One after another, and compiled for each of the four.
        Variant("numpyro-sequential", "numpyro", script, ("--chains", "sequential"), optional=True),
        Variant("numpyro-vectorized", "numpyro", script, ("--chains", "vectorized"), optional=True),
    )


GAP_PEERS = (
    Variant("blackjax-parallel", "blackjax", "gap.py", ("--chains", "parallel")),
    Variant("blackjax-vectorized", "blackjax", "gap.py", ("--chains", "vectorized"), optional=True),
    Variant("pymc-nutpie", "nutpie", "gap.py"),
    Variant("pyro", "pyro", "gap.py"),  # a few draws whatever the number of steps
    Variant("pyro-jit", "pyro", "gap.py", ("--method", "jit")),
)


JOBS = (
    Job(
        name="gap",
        title="The sinusoid with a gap (MLP 1-5-1, 1,000 rows), NUTS, 4 chains of 200 + 200",
        data="gap.py",
        steps=200,  # of warm-up, and as many draws
        variants=(*_numpyro("gap.py"), *GAP_PEERS, Variant("ours", "ours", "gap.py")),
        metrics=GAP,
        references=("ours",),
        repeats=3,
    ),
    Job(
        name="moons-mcmc",
        title="Two moons (2-5-5-1 with biases), 4 chains, smallest ESS of the logits on a grid",
        data="moons.py",
        steps=1_000,  # draws of NUTS, after half as much warm-up; the others' follow from it
        variants=(
            *_numpyro("moons_mcmc.py"),
            Variant("ours-nuts", "ours", "moons_mcmc.py", ("--method", "nuts")),
            Variant("ours-mclmc", "ours", "moons_mcmc.py", ("--method", "mclmc")),
            Variant("ours-mamclmc-1", "ours", "moons_mcmc.py", ("--method", "mamclmc-1")),
            Variant("ours-mamclmc-2", "ours", "moons_mcmc.py", ("--method", "mamclmc-2")),
        ),
        metrics=MOONS,
        references=("numpyro-parallel",),
        repeats=3,
    ),
)
