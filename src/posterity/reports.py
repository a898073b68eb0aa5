"""A report on a posterior: one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from posterity import metrics
from posterity.files import write_atomic
from posterity.inputs import InputSpec
from posterity.plots.gallery import Names, Picture, Rows, pictures
from posterity.plots.style import Rescale
from posterity.posterior import Posterior
from posterity.version import __version__

Data = tuple[Any, Any]
MOST_TRAIN_ROWS = 5_000  # for the training metrics; test data are used whole
WIDTH_PER_INCH = 104  # CSS pixels: text of figures is then as large as that of the page
SUFFIX = ".html"
SHOWN = 80  # letters of what a setting is made of

PARAMETERS_NOTE = "In unconstrained units: the range of the elements' posterior means and sds."
METRICS = {
    "accuracy": ("accuracy", "share of rows whose most probable class is the true one"),
    "nll": (
        "negative log likelihood",
        "of the predictive distribution, in nats per row; less is better",
    ),
    "brier": ("Brier score", "squared error of the class probabilities, summed; 0 is perfect"),
    "ece": ("calibration error", "mean gap between how probable and how often right; 0 is perfect"),
    "rmse": ("root mean squared error", "of the predictive mean, in units of the target"),
    "coverage_90": ("coverage", "share of rows inside their 90 % interval; 0.9 is ideal"),
}


def report(
    posterior: Posterior,
    path: str | Path,
    *,
    data: Data | None = None,
    test: Data | None = None,
    title: str | None = None,
    x_names: Sequence[str] | None = None,
    y_name: str = "y",
    class_names: Sequence[Any] | None = None,
    rescale: Rescale | None = None,
    rescale_x: Rescale | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a report: how the run ended, metrics, figures, settings, model and parameters.

    The page is one file: figures and style are in it, there are no scripts, and it loads nothing.
    It is written whole or not at all.

    Args:
        posterior: of any method.
        path: where; the suffix ``.html`` is added where there is none.
        data: the pair ``(x, y)`` that was fitted: x as in `fit`, y in its original units.
        test: a pair of rows that were not fitted; the metrics and checks that count.
        title: the page's title.
        x_names: names of the input columns; None for those of a data frame, or x₁, x₂, …
        y_name: name of the target, with its unit.
        class_names: names of the classes 0 … K − 1.
        rescale: ``(loc, scale)`` where the model was fitted to (y − loc) / scale: predictions,
            figures and metrics are then in original units.
        rescale_x: the same for the axes of x; numbers, or one per column.
        extra: more sections: heading → a mapping (a table of two columns), a list of mappings (a
            table), a list of strings, or a string.

    Returns:
        The path written.

    Raises:
        ImportError: matplotlib or jinja2 is missing; the message says how to install them.
        TypeError, ValueError: data, names or `extra` are not what they must be.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=200), progress=False)
    >>> report(posterior, "line", data=(x, x[:, 0])).name  # doctest: +SKIP
    'line.html'
    """
    labels = None if class_names is None else [str(name) for name in class_names]
    names = Names(x_names, y_name, labels, rescale, rescale_x)
    train, held = None, None
    if data is not None:
        train = Rows.of("training rows", posterior, data, names, MOST_TRAIN_ROWS)
    if test is not None:
        held = Rows.of("test rows", posterior, test, names)
    page = _template().render(
        title=title or f"Posterior by {posterior.settings['method']}",
        facts=_facts(posterior),
        result=posterior.result,
        outcome=posterior.result.code.value,
        metrics=_metrics(train, held),
        figures=[_figure(picture) for picture in pictures(posterior, train, held, names)],
        sections=[
            *(_section(heading, content) for heading, content in (extra or {}).items()),
            *_chains(posterior),
            _section("Settings", _settings(posterior.settings)),
            *([_section("Found", _settings(posterior.facts))] if posterior.facts else []),
            _section("Model", _model(posterior)),
            _section("Priors", _priors(posterior)),
            _section("Parameters", _parameters(posterior), PARAMETERS_NOTE),
            _section("Versions", _versions()),
        ],
    )
    path = Path(path)
    return write_atomic(path if path.suffix else path.with_name(path.name + SUFFIX), page)


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError('report: jinja2 is needed; pip install "posterity[plots]".') from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        files("posterity").joinpath("reports.html.j2").read_text("utf-8")
    )


# -- metrics ------------------------------------------------------------------------------------


def _metrics(train: Rows | None, test: Rows | None) -> dict[str, Any] | None:
    """The metrics as a table: heads, and lines of a name, what it means and figures."""
    sets = [rows for rows in (test, train) if rows]
    if not sets:
        return None
    scores = [metrics.score(rows.pred_y, rows.pred) for rows in sets]
    lines = [
        (*METRICS.get(name, (name, "")), [_number(score[name]) for score in scores])
        for name in scores[0]
    ]
    return {"heads": [(rows.name, rows.used) for rows in sets], "lines": lines}


def _figure(picture: Picture) -> dict[str, Any]:
    """A picture as the template wants it."""
    image = base64.b64encode(picture.png()).decode()
    return {
        "title": picture.title,
        "caption": picture.caption,
        "image": image,
        "width": round(WIDTH_PER_INCH * picture.inches),
        "wide": picture.wide,
    }


# -- tables -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Section:
    """A heading, and under it a note, a list, or a table of pairs or (with `heads`) of columns."""

    heading: str
    note: str = ""
    items: Sequence[str] = ()
    heads: Sequence[str] = ()
    lines: Sequence[Sequence[str]] = ()


def _section(heading: str, content: Any, note: str = "") -> _Section:
    """A section of what `extra` may hold."""
    if isinstance(content, str):
        return _Section(heading, content)
    if isinstance(content, Mapping):
        pairs = [(str(key), _cell(value)) for key, value in content.items()]
        return _Section(heading, note, lines=pairs)
    items = list(content) if isinstance(content, Sequence) else [content]
    if all(isinstance(item, str) for item in items):
        return _Section(heading, note or ("" if items else "None."), items)
    if not all(isinstance(item, Mapping) for item in items):
        raise TypeError(
            f"extra: {heading!r} must be a mapping, a list of mappings or of strings, or a string."
        )
    heads = list(dict.fromkeys(key for item in items for key in item))
    lines = [[_cell(item.get(head, "")) for head in heads] for item in items]
    return _Section(heading, note, heads=[str(head) for head in heads], lines=lines)


def _chains(posterior: Posterior) -> list[_Section]:
    """The figures of a sampler's chains; those of weights only with their remark."""
    found = posterior.diagnostics
    if found is None:
        return []
    how = " by what they predict at training rows;" if found.predictions else ""
    note = (
        f"{found.length},{how} the worst figures of each kind, and where they are. {found.remark}"
    )
    sections = [_section("Chains", found.table(), note)] if found.table() else []
    facts = found.facts()
    return [*sections, *([_section("Sampler", facts)] if facts else [])]


def _facts(posterior: Posterior) -> list[str]:
    found, target = posterior.facts, posterior.target
    facts = [
        str(posterior.settings["method"]),
        f"{target.size:,} parameters",
        f"{target.rows:,} rows",
        f"{found.get('steps_made', 0):,} steps",
    ]
    return [*facts, f"{found['seconds']:.3g} s"] if "seconds" in found else facts


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    none = {"batch_size": "all rows"}
    shown = {
        name.replace("_", " "): none.get(name, "automatic") if value is None else _setting(value)
        for name, value in settings.items()
    }
    if "seconds" in shown:
        shown["seconds"] = f"{shown['seconds']:.3g}"
    return shown


def _setting(value: Any) -> Any:
    """A setting in few words: ``Halving(decay=100)``."""
    if not isinstance(value, dict):
        return value
    inside = ", ".join(f"{name}={part}" for name, part in value.get("parts", {}).items())
    shown = inside if len(inside) <= SHOWN else "…"
    return f"{str(value.get('stored', '')).rpartition('.')[2]}({shown})"


def _model(posterior: Posterior) -> dict[str, Any]:
    target = posterior.target
    shown = {
        "net": _words(target.net),
        "likelihood": _words(target.likelihood),
        "inputs of a row": _inputs(target.inputs),
        "targets of a row": _shape(target.y_shape),
        "parameters": target.size,
        "rows fitted": target.rows,
    }
    for part in target.recollections:
        rows = float(part.prior.counts.sum())
        shown["inputs remembered"] = f"{part.prior.inputs_count}, for {rows:.4g} rows"
    return shown


def _priors(posterior: Posterior) -> list[dict[str, Any]]:
    target = posterior.target
    return [
        {
            "parameter": parameter.path,
            "shape": _shape(parameter.shape),
            "prior": next(
                _words(block.prior)
                for block in target.blocks
                if block.start <= parameter.start and parameter.stop <= block.stop
            ),
        }
        for parameter in target.parameters
    ]


def _parameters(posterior: Posterior) -> list[dict[str, Any]]:
    return [
        {
            "parameter": row.path,
            "shape": _shape(row.shape),
            "smallest mean": row.smallest_mean,
            "largest mean": row.largest_mean,
            "smallest sd": row.smallest_sd,
            "largest sd": row.largest_sd,
        }
        for row in posterior.summary().rows
    ]


def _versions() -> dict[str, str]:
    return {
        "posterity": __version__,
        "jax": jax.__version__,
        "numpyro": numpyro.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


# -- words --------------------------------------------------------------------------------------


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return _number(float(value))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}".replace("-", "−")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _inputs(inputs: InputSpec) -> str:
    """A row of inputs: its shape, or that of every array by name."""
    words = [
        _shape(leaf.shape) + (" (integers)" if leaf.dtype == "int32" else "")
        for leaf in inputs.leaves
    ]
    if inputs.structure == "array":
        return words[0]
    return ", ".join(f"{leaf.name}: {said}" for leaf, said in zip(inputs.leaves, words))


def _words(value: Any) -> str:
    """A net, a likelihood or a distribution as one would write it."""
    if isinstance(value, (dist.ExpandedDistribution, dist.Independent)):
        return _words(value.base_dist)
    if isinstance(value, dist.TransformedDistribution) and not value.arg_constraints:
        parts = [_words(value.base_dist), *(type(t).__name__ for t in value.transforms)]
        return " → ".join(parts)
    if isinstance(value, dist.Distribution):
        given = {name: getattr(value, name, None) for name in value.arg_constraints}
    elif dataclasses.is_dataclass(value) and type(value).__module__.startswith("posterity."):
        given = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, (float, int, np.ndarray, np.generic, jax.Array)):
        return _cell(np.asarray(value).item()) if np.size(value) == 1 else _array(value)
    else:
        return _short(repr(value))
    return f"{type(value).__name__}({', '.join(f'{k}={_words(v)}' for k, v in given.items())})"


def _array(value: Any) -> str:
    return f"array of {_shape(np.shape(value))}"


def _short(text: str, most: int = 1_500) -> str:
    """A repr without addresses in memory and of bounded length."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = re.sub(r"<(?:PjitFunction of <)?function ([\w.<>]+?)>>?", r"\1", text)
    return text if len(text) <= most else text[:most] + " …"
