"""Representations in notebooks: well-formed, escaped, of bounded size, and with the figures that matter."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.history import History
from equiprop.markup import CHARACTERS, ROWS, html, table
from networks import chain, inputs

HOSTILE = "<script>alert('x' & \"y\")</script>"


class Page(HTMLParser):
    """Collects the texts of cells and other elements; fails if tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(thing: Any) -> list[str]:
    text = thing._repr_html_()
    page = Page(text)
    assert page.tags <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search(r"url\(|http|src=|#[0-9a-f]{3}", text)  # nothing is loaded, no colour is fixed
    return page.texts


def after(texts: list[str], label: str) -> str:
    """Return the text of the cell that follows one with a label."""
    return texts[texts.index(label) + 1]


def graph(layers: int, name: str = "layer") -> eq.HopfieldNetwork:
    named = [eq.Layer(2, "tanh", f"{name}{k}") for k in range(layers)]
    return eq.HopfieldNetwork(layers=named, couplings=[eq.Dense(k, k + 1) for k in range(layers - 1)])


def epochs(count: int) -> History:
    return History(
        eq.Epoch(k, 0.5 / k, None if k % 2 else 0.25, 1 / k, 10, 5, 1e-6, k, 0.5) for k in range(1, count + 1)
    )


# ---------------------------------------------------------------------------- figures


def test_a_network_shows_layers_and_blocks() -> None:
    texts = shown(eq.networks.convolutional28(dtype="float64"))
    assert texts[0].startswith("HopfieldNetwork(1x28x28-32x12x12-64x4x4-10, ")
    assert texts[texts.index("hidden1") : texts.index("hidden1") + 5] == [
        "hidden1",
        "32x12x12",
        "4608",
        "32",
        "0",
    ]
    assert "64x32x5x5" in texts
    assert texts[-1] == "62346 parameters; block updates in 2 colours"


def test_a_fixed_point_shows_counts_iterations_and_advice() -> None:
    net = chain()
    texts = shown(eq.free_phase(net, inputs(net)))
    assert texts[0] == f"Free phase of {net!r}"
    assert (after(texts, "samples"), after(texts, "converged")) == ("3", "3")
    few = eq.free_phase(net, inputs(net), solver=eq.BlockUpdate(max_iterations=1), on_failure="ignore")
    texts = shown(few)
    assert after(texts, "did not reach the tolerance") == "3"
    assert after(texts, "iterations") == "1.0 on average, 1 at most"
    assert after(texts, "largest residual") == f"{few.residual.max():.1e}"
    assert texts[-1] == few.advice[0]


def test_a_gradient_shows_its_blocks() -> None:
    net = chain()
    gradient = eq.recurrent_backpropagation(net, eq.free_phase(net, inputs(net)), np.zeros((3, 3)))
    texts = shown(gradient)
    assert f"objective {gradient.objective:.6g}" in texts
    at = texts.index("W2")
    assert texts[at + 1 : at + 3] == ["6x3", f"{np.linalg.norm(gradient.blocks['W2']):.3g}"]


def test_a_history_shows_epochs_and_is_a_list(tmp_path: Path) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([2, 4, 2], seed=1), batch_size=10)
    data = eq.Dataset(np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20))
    records = trainer.fit(data, epochs=2, validation=data)
    trainer.fit(data, epochs=1)
    texts = shown(trainer.history)
    assert texts[0] == "History of 3 epochs"
    first = records[0]
    figures = (first.train_error, first.validation_error, first.objective)
    assert texts[9:13] == ["1", *(f"{figure:.4g}" for figure in figures)]
    assert shown(records)[0] == "History of 2 epochs"
    assert trainer.history == list(trainer.history)
    assert repr(records) == repr(list(records))
    eq.save(trainer, tmp_path / "trainer.safetensors")
    loaded = eq.load(tmp_path / "trainer.safetensors")
    assert shown(loaded.history) == texts
    assert shown(History()) == ["History of 0 epochs", *texts[1:9]]


def test_a_verdict_shows_its_figures() -> None:
    net = eq.HopfieldNetwork([3, 4, 2], activation="tanh", dtype="float64", seed=1)
    report = eq.verify.derivatives(net)
    texts = shown(report)
    assert texts[0] == report.summary
    row = next(row for row in report.rows if row.judged)
    at = texts.index(row.label)
    assert texts[at + 1 : at + 4] == [f"{row.value:.3g}", row.limit, "✓ ok"]


# ---------------------------------------------------------------------------- escaping and size


def hostile_gradient() -> Any:
    net = graph(3, HOSTILE)
    return eq.recurrent_backpropagation(net, eq.free_phase(net, np.zeros((1, 2))), np.zeros((1, 2)))


class Claim(eq.verify.Verdict):
    claim = HOSTILE
    statement = HOSTILE


def claim() -> Claim:
    return Claim(rows=(eq.verify.Row(HOSTILE, 1.0, low=2.0, note=HOSTILE),), advice=(HOSTILE,))


def test_names_are_escaped() -> None:
    for thing in (graph(3, HOSTILE), hostile_gradient(), claim(), hostile_gradient().model):
        text = thing._repr_html_()
        assert "<script" not in text
        Page(text)
    assert shown(graph(3, HOSTILE)).count(f"{HOSTILE}1") == 3  # in one row of layers and two of couplings
    assert shown(claim()).count(HOSTILE) == 3
    assert "✗ failed" in shown(claim())
    assert html("<b>") == "<pre>&#x27;&lt;b&gt;&#x27;</pre>"


def large_gradient() -> Any:
    net = graph(50)
    return eq.recurrent_backpropagation(net, eq.free_phase(net, np.zeros((1, 2))), np.zeros((1, 2)))


def large_batch() -> Any:
    return eq.free_phase(eq.HopfieldNetwork([1, 1, 1]), np.zeros((100_000, 1)))


@pytest.mark.parametrize(
    "make",
    [lambda: graph(50), large_gradient, large_batch, lambda: epochs(10_000), lambda: graph(3, "x" * 5000)],
)
def test_sizes_are_bounded(make: Callable[[], Any]) -> None:
    thing = make()
    assert len(thing._repr_html_()) < 15_000
    shown(thing)


def test_the_middle_of_a_long_table_is_left_out() -> None:
    texts = Page(table(["n"], [[str(k)] for k in range(ROWS + 5)])).texts
    assert texts == ["n", *map(str, range(ROWS // 2)), "… 5 more", *map(str, range(ROWS // 2 + 5, ROWS + 5))]
    assert Page(table(["n"], [[str(k)] for k in range(ROWS)])).texts == ["n", *map(str, range(ROWS))]
    assert Page(table(["n"], [["y" * (CHARACTERS + 1)]])).texts[1] == "y" * (CHARACTERS - 1) + "…"
