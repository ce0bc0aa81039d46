"""The terminal app: mouse, themes, help, and screens of any size."""

import io
import sys

import pytest

from npformer.core import facts
from npformer.debug.views import pictures

pytest.importorskip("textual")

from app_driver import answer, drive, place_of, settle, shown, type_in

import npformer as npf
from npformer import debug
from npformer.core.errors import InputError
from npformer.debug import app as app_package
from npformer.debug.app.arrays import ArrayView
from npformer.debug.app.keys import KEYS
from npformer.debug.app.tree import ModuleTree
from npformer.debug.app.widgets import Layers

# ── the mouse, themes, help ───────────────────────────────────────────────────────────────────────


def test_a_click_in_the_tree_goes_there_and_a_click_on_its_arrow_opens_it(trace):
    async def person(pilot):
        tree = pilot.app.query_one(ModuleTree)
        x, y = place_of(tree, " h.1")
        await pilot.click(tree, offset=(x + 2, y))
        await settle(pilot)
        where = pilot.app.cursor.at
        assert where.level == "module" and where.path.endswith("1")
        line = tree.line_of(where)
        assert not line.is_expanded
        arrow = tree.render_line(y).text.index("▸")
        await pilot.click(tree, offset=(arrow, y))
        await settle(pilot)
        assert line.is_expanded and len(line.children) == len(where.children)
        assert pilot.app.cursor.at is where
        await pilot.click(tree, offset=(x + 4, y + 1))
        await settle(pilot)
        assert pilot.app.cursor.at is where.children[0]
        await type_in(pilot, "n")                  # a click takes no keys away
        assert pilot.app.cursor.at is where.children[1]
    drive(trace, person)


def test_a_click_on_a_layer_and_on_a_part_of_a_module_goes_there(trace):
    layers = pictures.layers(trace)

    async def person(pilot):
        row = pilot.app.query_one(Layers)
        _, columns = row.places()
        await pilot.click(row, offset=(1 + 9 * columns, 0))
        await settle(pilot)
        assert pilot.app.cursor.index == layers[9].first
        assert f"{layers[9].where} {facts.four_digits(layers[9].norm)}" in shown(pilot)
        await type_in(pilot, "o", "o", "o")
        panel = pilot.app.query_one("#info Static")
        name = pilot.app.cursor.root.children[2].label
        x, y = place_of(panel, name)
        await pilot.click(panel, offset=(x, y))
        await settle(pilot)
        assert pilot.app.cursor.index == pilot.app.cursor.root.children[2].first
    drive(trace, person)


def test_a_click_on_a_tab_opens_it(trace):
    async def person(pilot):
        await pilot.click("#--content-tab-ledger")
        await settle(pilot)
        assert "sum so far" in shown(pilot)
        await type_in(pilot, "n")
        assert pilot.app.cursor.index == 1
    drive(trace, person)


def test_both_themes_and_the_list_of_keys(trace):
    async def person(pilot):
        await type_in(pilot, "question_mark")
        text = shown(pilot)
        for binding in KEYS:
            assert not binding.tooltip or binding.tooltip in text
        await type_in(pilot, "escape", "t")
        assert not pilot.app.current_theme.dark
        await type_in(pilot, "t")
        assert pilot.app.current_theme.dark
        await type_in(pilot, "q")
    drive(trace, person)


def test_growing_and_shrinking_the_window(trace):
    async def person(pilot):
        for width, height in ((200, 60), (80, 24), (30, 6), (139, 50), (140, 50)):
            await pilot.resize_terminal(width, height)
            await settle(pilot)
            await type_in(pilot, "n", "h")
        assert pilot.app.query_one("#side").display
        assert pilot.app.query_one("#heat ArrayView", ArrayView).choices
    drive(trace, person)


# ── size, and what is missing ─────────────────────────────────────────────────────────────────────


def test_a_graph_of_many_thousand_nodes_fills_its_tree_where_somebody_looks():
    x = npf.ones(2, dtype=npf.float64).requires_grad_()

    def chain():
        y = x
        for _ in range(12_000):
            y = y * 1.0001
        return y.sum()
    long = debug.trace(chain)

    async def person(pilot):
        await answer(pilot, "g", "7777")
        await type_in(pilot, "n", "p", "p", "l", "h")
        tree = pilot.app.query_one(ModuleTree)
        assert pilot.app.cursor.index == 7776 and tree.frame_of[tree.cursor_node].first == 7776
        assert str(tree.cursor_node.parent.label) == "steps 7700–7799" and len(tree.frame_of) < 500
        await type_in(pilot, "i", "o", "pagedown", *["pagedown"] * 12)
        assert "more: the tree has them" in shown(pilot)
    drive(long, person)


def test_without_textual_it_says_what_to_install(trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(InputError, match=r"The terminal app needs textual.*\n.*pip install"):
        app_package.run(trace)


def test_the_command_needs_a_terminal(capsys):
    from npformer.cli import main
    assert main(["step", "--app"]) == 2
    assert "--app needs a terminal" in capsys.readouterr().err


def test_the_command_opens_the_app_on_what_it_recorded(monkeypatch):
    from npformer.cli import main, step
    opened = []
    monkeypatch.setattr(npf.debug.app, "run", opened.append)
    monkeypatch.setattr(step.sys, "stdin", Terminal())
    monkeypatch.setattr(step.sys, "stdout", Terminal())
    assert main(["step", "--app", "--model", "vit"]) == 0
    assert [found.title for found in opened] == ["VisionTransformer"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True
