"""The report: complete, self-contained, harmless and atomic."""

import re
import sys
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Code, Result
from posterity.reports import _settings, report
from posterity.run.finish import asked

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags with attributes, and visible text; fails where tags do not close."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text("utf-8")
        self.tags, self.text, self.open = [], "", []
        self.feed(self.html)
        self.text = " ".join(self.text.split())
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f" {data}"

    def count(self, tag):
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture(scope="module")
def plane():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 2))
    y = (x[:, 0] > 0).astype(int)
    model = po.Model(
        po.nets.MLP(2, [3], 1, activation=jnp.tanh),
        po.priors.Normal(0, 1),
        po.likelihoods.Bernoulli(),
    )
    train, test = (x[:60], y[:60]), (x[60:], y[60:])
    return po.fit(model, train, po.ADVI(steps=500), progress=False), train, test


@pytest.fixture(scope="module")
def line():
    """A standardised target: y = 100 + 10 z."""
    x = np.linspace(-1, 1, 40)[:, None]
    z = 2 * x[:, 0] + 0.3 * np.random.default_rng(1).normal(size=40)
    likelihood = po.likelihoods.Normal(dist.HalfNormal(1.0))
    model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(0, 1), likelihood)
    posterior = po.fit(model, (x, z), po.SGLD(draws=100, step_size=1e-3, chains=2), progress=False)
    return posterior, x, 100 + 10 * z


@pytest.fixture(scope="module")
def page(plane, tmp_path_factory):
    posterior, train, test = plane
    path = tmp_path_factory.mktemp("report") / "moons"
    written = report(posterior, path, data=train, test=test, title="Two halves")
    assert written == path.with_suffix(".html")
    return Page(written)


def with_result(posterior, result):
    return po.Posterior(
        posterior.target,
        posterior.distribution,
        history=posterior.history,
        settings=posterior.settings,
        result=result,
    )


def test_says_how_the_run_ended(page, plane):
    posterior = plane[0]
    assert "Two halves" in page.text
    assert posterior.result.code.value.capitalize() + "." in page.text
    assert posterior.result.message in page.text
    assert ("No warnings." in page.text) == (not posterior.result.warnings)


def test_every_warning_is_shown(plane, tmp_path):
    result = Result(Code.FAILED, "It went wrong.", ("Beware of <one>.", "Beware of two."))
    page = Page(report(with_result(plane[0], result), tmp_path / "a.html"))
    for words in ("Failed.", "It went wrong.", "2 warnings", "Beware of <one>.", "Beware of two."):
        assert words in page.text
    assert "No warnings" not in page.text
    assert "&lt;one&gt;" in page.html


def test_metrics_of_test_and_training_rows(page, plane):
    posterior, train, test = plane
    assert "test rows 30 training rows 60" in page.text
    for x, y in (test, train):
        for value in po.metrics.score(y, posterior.predict(x)).values():
            assert f"{value:.4g}".replace("-", "−") in page.text


def test_figures_of_a_classifier_over_two_inputs(page):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 8
    assert all(image["alt"] for image in images)
    for title in ("Data", "Probability of class 1", "Uncertainty", "Ignorance", "Calibration"):
        assert title in page.text
    for title in ("Confidence", "The run", "Weights"):
        assert title in page.text


def test_model_settings_parameters_and_versions(page, plane):
    posterior = plane[0]
    assert "MLP(in_size=2, hidden=(3,), out_size=1, activation=tanh" in page.text
    assert "Normal(loc=0, scale=1)" in page.text
    assert "Bernoulli()" in page.text
    for path in posterior.target.paths:
        assert page.text.count(path) == 2
    for name in posterior.settings:
        assert name.replace("_", " ") in page.text
    assert po.__version__ in page.text
    assert " at 0x" not in page.html


def test_loads_nothing_and_runs_nothing(page):
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    assert not re.search(r"https?://", page.html)
    assert "url(" not in page.html
    assert "@import" not in page.html
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:").startswith("data:")
        assert "href" not in attrs


def test_names_cannot_inject(plane, tmp_path):
    posterior, train, _ = plane
    result = Result(Code.COMPLETED, EVIL, (EVIL,))
    path = report(
        with_result(posterior, result),
        tmp_path / "evil.html",
        data=train,
        title=EVIL,
        x_names=[EVIL, "a$b$c"],
        y_name='"><img src=x onerror=y>',
        class_names=[EVIL, "$\\frac$"],
        extra={EVIL: {EVIL: EVIL}, "table": [{EVIL: EVIL}], "list": [EVIL], "words": EVIL},
    )
    page = Page(path)
    assert page.count("script") == 0
    assert "<script" not in page.html
    assert page.text.count(EVIL) >= 9
    assert "onerror" not in str([attrs for _, attrs in page.tags if "onerror" in attrs])


def test_figures_and_metrics_in_original_units(line, tmp_path):
    posterior, x, y = line
    path = report(
        posterior, tmp_path / "line", data=(x, y), rescale=(100.0, 10.0), y_name="height (m)"
    )
    page = Page(path)
    score = po.metrics.score(y, posterior.predict(x).rescaled(100.0, 10.0))
    assert 1 < score["rmse"] < 10  # the noise, ten times 0.3
    assert f"{score['rmse']:.4g}" in page.text
    assert "Prediction" in page.text
    assert "HalfNormal(scale=1)" in page.text


def test_several_inputs_get_a_check_instead_of_a_surface(tmp_path):
    x = np.random.default_rng(2).normal(size=(50, 3))
    model = po.Model(po.nets.MLP(3, [], 2), po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = po.fit(model, (x, x[:, :2]), po.MAP(steps=100), progress=False)
    page = Page(report(posterior, tmp_path / "several", data=(x, x[:, :2])))
    assert "Predicted and observed" in page.text
    assert page.count("img") == 3


def test_without_data_there_are_no_metrics(plane, tmp_path):
    page = Page(report(plane[0], tmp_path / "bare"))
    assert "Metrics" not in page.text
    assert page.count("img") == 2


def test_a_run_that_reported_nothing_finite(plane, tmp_path):
    posterior = plane[0]
    lost = po.Posterior(
        posterior.target,
        posterior.distribution,
        history=History({"elbo": np.full(5, -np.inf), "ok": np.zeros(5, bool)}),
        settings=posterior.settings,
        result=Result(Code.FAILED, "Nothing was finite."),
    )
    page = Page(report(lost, tmp_path / "lost"))
    assert "Nothing was finite." in page.text
    assert page.count("img") == 1


def test_extra_sections(plane, tmp_path):
    extra = {
        "Columns": [{"name": "age", "mean": 41.25}, {"name": "city", "kind": "text"}],
        "Notes": ["first note", "second note"],
        "Source": {"file": "a.csv", "rows": 12_345, "checked": True},
        "Words": "a paragraph",
    }
    text = Page(report(plane[0], tmp_path / "extra", extra=extra)).text
    for words in ("Columns", "41.25", "kind", "second note", "12,345", "yes", "a paragraph"):
        assert words in text
    with pytest.raises(TypeError, match="must be a mapping"):
        report(plane[0], tmp_path / "wrong", extra={"Numbers": 3})


def test_a_failure_leaves_the_old_report(plane, tmp_path, monkeypatch):
    path = report(plane[0], tmp_path / "kept.html", title="old")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report(plane[0], path, title="new")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["kept.html"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((3, 2)), TypeError, "pair"),
        ((np.zeros((3, 2)), np.zeros(4)), ValueError, "3 rows"),
        ((np.zeros((3, 5)), np.zeros(3)), ValueError, "rows of shape"),
        ((np.zeros((3, 2)), np.full(3, 7)), ValueError, "outside the labels"),
    ],
)
def test_wrong_data_are_named(plane, tmp_path, data, error, message):
    with pytest.raises(error, match=message):
        report(plane[0], tmp_path / "never", test=data)
    assert not list(tmp_path.iterdir())


def test_without_jinja_the_message_says_what_to_install(plane, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"posterity\[plots\]"):
        report(plane[0], tmp_path / "never")


def test_schedules_and_arrays_are_said_in_few_words():
    sgld = po.SGLD(draws=3, schedule=po.schedules.Halving(100), preconditioner=np.ones(90))
    shown = _settings(asked(sgld, 0))
    assert shown["schedule"] == "Halving(decay=100)"
    assert shown["preconditioner"] == "Variances(…)"
    assert _settings(asked(po.SGLD(), 0))["schedule"] == "Constant()"
