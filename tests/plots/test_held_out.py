"""Images beside their predictions: bars and points are those of the prediction."""

from __future__ import annotations

import numpy as np
import pytest

import posterity as po
from handmade import draws_of, linear, posterior_of

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 1)).astype(np.float32)
IMAGES = RNG.random((12, 5, 6, 1))
LABELS = np.arange(12) % 3
MULTI = posterior_of(
    linear(po.likelihoods.Categorical(3), 3), draws_of(RNG.normal(0, 2, (40, 3)))
).predict(X)
BINARY = posterior_of(
    linear(po.likelihoods.Bernoulli()), draws_of(RNG.normal(0, 2, (40, 1)))
).predict(X)


def rows(figure):
    """The three Axes of every row."""
    figure.canvas.draw()
    return np.array(figure.axes, object).reshape(-1, 3)


def says(ax):
    return [text.get_text() for text in ax.texts]


def test_rows_show_the_image_the_draws_and_their_mean():
    grid = rows(po.plots.held_out(MULTI, IMAGES, LABELS, 4))
    assert len(grid) == 4
    raw = MULTI.raw()
    for row, (image, draws, means) in enumerate(grid):
        np.testing.assert_array_equal(image.images[0].get_array(), IMAGES[row, ..., 0])
        for k, points in enumerate(draws.lines):
            np.testing.assert_allclose(points.get_ydata(), raw[:, row, k], rtol=1e-5)
            assert (abs(points.get_xdata() - k) < 0.5).all()
        heights = [bar.get_height() for bar in means.patches]
        np.testing.assert_allclose(heights[:3], MULTI.probs[row], rtol=1e-6)
        frame = means.patches[3]
        assert frame.get_x() + frame.get_width() / 2 == pytest.approx(LABELS[row])
        right = "right" if MULTI.label[row] == LABELS[row] else "wrong"
        assert says(means) == [f"{MULTI.label[row]}\n{right}"]
    assert grid[0, 1].get_title(loc="left") == "40 posterior draws"
    assert [ax.get_xlabel() for ax in grid[-1, 1:]] == ["class", "class"]
    assert grid[0, 1].get_ylabel() == "probability"


def test_without_labels_nothing_is_judged_and_refusals_are_named():
    answers = MULTI.abstain(below=float(np.median(MULTI.probs.max(1))))
    grid = rows(po.plots.held_out(MULTI, IMAGES[..., 0], answers=answers, class_names="abc"))
    assert len(grid) == 10
    for row, (_, _, means) in enumerate(grid):
        refused = bool(answers.mask[row])
        assert says(means) == ["refused" if refused else "abc"[MULTI.label[row]]]
        assert len(means.patches) == 3
    assert [tick.get_text() for tick in grid[-1, 2].get_xticklabels()] == ["a", "b", "c"]
    assert [tick.get_text() for tick in grid[0, 2].get_xticklabels()] == [""] * 3


def test_two_classes_and_colour_images():
    colour = RNG.random((12, 5, 6, 3))
    grid = rows(po.plots.held_out(BINARY, colour, LABELS % 2, 2))
    bars = [bar.get_height() for bar in grid[1, 2].patches[:2]]
    np.testing.assert_allclose(bars, BINARY.probs[1], rtol=1e-5)
    assert grid[1, 0].images[0].get_array().shape == (5, 6, 3)


def test_many_draws_are_thinned():
    many = posterior_of(linear(po.likelihoods.Bernoulli()), draws_of(RNG.normal(size=(999, 1))))
    grid = rows(po.plots.held_out(many.predict(X), IMAGES, n=1))
    assert grid[0, 1].lines[0].get_ydata().shape == (200,)
    assert grid[0, 1].get_title(loc="left") == "200 posterior draws"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[:3]}, "expected 12 images"),
        ({"images": IMAGES[..., 0, 0]}, "expected 12 images"),
        ({"images": np.zeros((12, 4, 4, 2))}, "2 channels"),
        ({"labels": LABELS[:3]}, "labels: expected shape"),
        ({"answers": LABELS[:3]}, "answers: expected shape"),
        ({"n": 0}, "n: must be"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        po.plots.held_out(**{"pred": MULTI, "images": IMAGES, **change})


def test_numbers_have_no_classes():
    real = posterior_of(linear(po.likelihoods.Normal(0.1)), draws_of([[1.0]])).predict(X)
    with pytest.raises(ValueError, match="no classes"):
        po.plots.held_out(real, IMAGES)
