"""The command line. Only the standard library and Typer are imported before a command runs."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from posterity.cli.console import Commands, finish

app = typer.Typer(
    cls=Commands,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
demo = typer.Typer(help="Worked examples on data that come along.", no_args_is_help=True)
app.add_typer(demo, name="demo")


class Task(enum.StrEnum):
    """What the target is."""

    auto = "auto"
    classification = "classification"
    regression = "regression"


class Method(enum.StrEnum):
    """An inference method."""

    advi = "advi"
    map = "map"
    nuts = "nuts"
    sgld = "sgld"


class Images(enum.StrEnum):
    """Ten classes of small pictures."""

    mnist = "mnist"
    fashion_mnist = "fashion-mnist"


class Activation(enum.StrEnum):
    """The function between layers."""

    relu = "relu"
    tanh = "tanh"


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all else goes to standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no remarks.")]
Seed = Annotated[int, typer.Option(help="Of all randomness: the same seed, the same result.")]


def _version(asked: bool) -> None:
    if asked:
        from posterity.version import __version__

        typer.echo(f"posterity {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, show where it was raised.")
    ] = False,
) -> None:
    """Bayesian neural networks: fit one to a table, predict with uncertainty, see a report.

    ```text
    posterity demo moons
    posterity fit houses.csv --target price --out houses
    posterity predict houses new.csv --out predictions.csv
    ```
    """


@demo.command("moons")
def demo_moons(
    out: Annotated[Path, typer.Option(help="Folder for the report and the posterior.")] = Path(
        "demo-report"
    ),
    steps: Annotated[int, typer.Option(help="Gradient steps at most.")] = 30_000,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Two moons: 500 rows, a 2-5-5-1 network, variational inference; some seconds.

    ```text
    posterity demo moons
    posterity demo moons --out /tmp/moons --json
    ```
    """
    from posterity.cli.demos import moons

    finish(moons(out, steps, seed, quiet=quiet, progress=not quiet and not json), json)


@demo.command("digits")
def demo_digits(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the posterior.")] = Path(
        "digits"
    ),
    data: Annotated[Images, typer.Option(help="Handwritten digits, or clothes.")] = Images.mnist,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Gradient steps of 128 images; 6,000 by default.")
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=2, help="Test images to predict; all 10,000 by default.")
    ] = None,
    small: Annotated[
        bool,
        typer.Option(
            "--small", help="By default 800 steps and 1,000 test images instead: two minutes."
        ),
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Digits: LeNet-5 by Flipout, watched while it learns, and refusing what is no digit.

    ```text
    posterity demo digits --small
    posterity demo digits --data fashion-mnist --out clothes
    ```
    """
    from posterity.cli.digits import digits

    steps = steps or (800 if small else 6_000)
    test = test or (1_000 if small else 10_000)
    progress = not quiet and not json
    finish(digits(out, data.value, steps, test, seed, quiet=quiet, progress=progress), json)


@app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A table: .csv, .tsv, .parquet or .npz.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the posterior and its report.")],
    target: Annotated[
        str | None, typer.Option(help="The column to predict; y in an .npz file with X and y.")
    ] = None,
    task: Annotated[Task, typer.Option(help="What the target is; auto says what it takes.")] = (
        Task.auto
    ),
    ignore: Annotated[list[str] | None, typer.Option(help="A column to leave out; repeat.")] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(help="A column whose texts are categories, 007 and NA too; repeat."),
    ] = None,
    hidden: Annotated[
        str, typer.Option(help="Widths of the hidden layers, as 50 or 50,50; 0 for a linear model.")
    ] = "50",
    activation: Annotated[Activation, typer.Option(help="Between layers.")] = Activation.relu,
    method: Annotated[Method, typer.Option(help="How the posterior is found.")] = Method.advi,
    steps: Annotated[
        int | None,
        typer.Option(help="Gradient steps at most (advi, map); steps of warm-up (nuts, sgld)."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per step; all up to 2,000 rows, else 256.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws kept per chain (nuts, sgld).")] = None,
    step_size: Annotated[
        float | None, typer.Option(help="Of sgld; chosen in the warm-up if not given.")
    ] = None,
    seed: Seed = 0,
    test_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the rows held out for testing.")
    ] = 0.1,
    test: Annotated[
        Path | None, typer.Option(help="A table to test on; all rows of DATA are then fitted.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a Bayesian neural network to a table.

    Numbers (12, -1.5, 2e-3) are standardised, text becomes categories, and what is inferred is
    said. What could be read in two ways, as 1,234 or 5%, is refused. OUT then holds
    posterior.safetensors, preprocessing.json, fit.json (settings and scores), data.npz and
    report.html, whole at every moment: an older fit in OUT is replaced at once.

    ```text
    posterity fit houses.csv --target price --out houses
    posterity fit wine.csv --target quality --task regression --hidden 50,50 --out wine
    posterity fit flowers.parquet --target kind --method nuts --draws 500 --out flowers
    ```
    """
    from posterity.cli.fitting import Settings, fit_table

    settings = Settings(
        data=data,
        target=target,
        task=task.value,
        ignore=tuple(ignore or ()),
        categorical=tuple(categorical or ()),
        hidden=hidden,
        activation=activation.value,
        method=method.value,
        steps=steps,
        batch_size=batch_size,
        draws=draws,
        step_size=step_size,
        seed=seed,
        test_fraction=test_fraction,
        test=test,
    )
    finish(fit_table(settings, out, quiet=quiet, progress=not quiet and not json), json)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `posterity fit` wrote.")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A table with the same input columns.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .csv, .parquet or .npz.")],
    interval: Annotated[
        float, typer.Option(help="Probability between the columns lower and upper.")
    ] = 0.9,
    draws: Annotated[int | None, typer.Option(help="Posterior draws to average over.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Predict the rows of a table, in the target's own units and class names.

    Columns: mean, sd, aleatoric and epistemic (variances: their sum is sd²), lower and upper. For
    classes also label, prob_CLASS, entropy and mutual_information (nats); mean, lower and upper
    are then the label's probability and the interval of that probability over posterior draws.

    In .csv files a label that a spreadsheet would compute, as =1+1, gets an apostrophe before it.
    --json says which.

    ```text
    posterity predict houses new.csv --out predictions.csv
    posterity predict flowers new.parquet --out predictions.parquet --interval 0.5
    ```
    """
    from posterity.cli.predicting import predict_table

    finish(predict_table(folder, data, out, interval, draws, seed), json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `posterity fit` wrote.")],
    json: Json = False,
) -> None:
    """Write DIR/report.html again, from what is stored in DIR.

    ```text
    posterity report houses
    ```
    """
    from posterity.cli.folder import Folder

    path = Folder(folder).write_report()
    finish({"report": str(path)}, json)


def main() -> None:
    """Run the command line."""
    app()
