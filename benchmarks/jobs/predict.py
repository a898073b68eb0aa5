"""The predictive distribution on a grid, as drawn to plot a decision boundary. Ours alone."""

from jobs.spec import Job, Metric, Variant

JOBS = (
    Job(
        name="predict-grid",
        title="500 predictive draws on a 100 x 100 grid, moons network (2-5-5-1)",
        data="moons.py",
        steps=2_000,  # the fit is only there to have a posterior
        variants=(
            Variant("ours-cache-off", "ours", "predict_grid.py"),
            Variant("ours-cache-warm", "ours", "predict_grid.py", cache="warm"),
        ),
        metrics=(
            Metric("first_predict_seconds", "First call, seconds", digits=4, headline=True),
            Metric("warm_predict_seconds", "Later calls, seconds", digits=4, headline=True),
            Metric("import_seconds", "import, s"),
            Metric("first_fit_seconds", "fit, s"),
        ),
        references=("ours-cache-off",),
    ),
)
