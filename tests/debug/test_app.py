"""The terminal app, driven as a person would: keys, mouse, and what is on the screen then."""

import asyncio
import html
import io
import re
import sys

import numpy as np
import pytest

pytest.importorskip("textual")

from textual.widgets import Input

import npformer as npf
from npformer import debug, nn
from npformer.core.errors import InputError
from npformer.debug import app as app_package
from npformer.debug import present
from npformer.debug.app.arrays import ArrayView
from npformer.debug.app.heat import HeatMap
from npformer.debug.app.parts import Layers
from npformer.debug.app.tree import ModuleTree
from npformer.debug.app.window import Stepper
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.frames import Cursor

SMALL, LARGE = (80, 24), (200, 60)


@pytest.fixture(scope="module")
def trace():
    """A GPT of two blocks: modules in modules, fused operations, four residual additions."""
    return debug.trace(example("gpt")[1])


def drive(trace, person, size=SMALL):
    """Open the app on a trace, and let `person` (a coroutine of the Pilot) use it."""
    async def session():
        async with Stepper(trace).run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await person(pilot)
    asyncio.run(session())


async def settle(pilot):
    """Wait until all messages are answered (once), and what they changed is laid out (twice)."""
    await pilot.pause()
    await pilot.pause()


async def type_in(pilot, *keys):
    """Press keys, and wait until all that follows from them is drawn."""
    for key in keys:
        await pilot.press(key)
    await settle(pilot)


async def answer(pilot, key, text):
    """Ask a question by its key, and answer it."""
    await pilot.press(key)
    pilot.app.query_one(Input).value = text
    await type_in(pilot, "enter")


def screen(pilot):
    """What is on the screen: its lines."""
    picture = pilot.app.export_screenshot(simplify=True)
    found = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', picture)
    wide = 12.2                                    # of a character, in the picture's units
    lines = {}
    for x, y, text in found:
        line = lines.setdefault(float(y), [""])
        line[0] = line[0].ljust(round(float(x) / wide)) + html.unescape(text).replace("\xa0", " ")
    return [line for _, (line,) in sorted(lines.items())]


def shown(pilot):
    """The screen as one text, with each run of spaces as one."""
    return re.sub(r"\s+", " ", " ".join(screen(pilot)))


def place_of(widget, text):
    """(x, y) in a widget at which it shows a text."""
    for y in range(widget.size.height):
        line = widget.render_line(y).text
        if text in line:
            return line.index(text), y
    raise AssertionError(f"{text!r} is not shown")


# ── walking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [SMALL, LARGE, (40, 10)])
def test_it_opens_at_the_first_step_back(trace, size):
    async def person(pilot):
        assert pilot.app.cursor.index == 0 and "cross_entropy" in shown(pilot)
        if size != (40, 10):
            assert "dlogits = (g / Σ w) · (wₙ·p − w·q)" in shown(pilot)
            assert f"step 0 of {len(trace)}" in shown(pilot)
            assert "keys" in screen(pilot)[-1]
    drive(trace, person, size)


def test_keys_move_as_the_cursor_of_every_viewer_does(trace):
    """A long random walk with letters and arrows lands where the words over, into, out and back land."""
    rng, cursor = np.random.default_rng(3), Cursor(trace)
    moves = {"n": "over", "down": "over", "p": "back", "up": "back", "s": "into", "right": "into", "o": "out", "left": "out"}
    keys = rng.choice(list(moves), 32, p=[.2, .1, .05, .05, .2, .2, .1, .1])

    async def person(pilot):
        for key in keys:
            getattr(cursor, moves[key])()
            await pilot.press(key)
            assert repr(pilot.app.cursor.at) == repr(cursor.at)
        await settle(pilot)
        tree = pilot.app.query_one(ModuleTree)
        assert tree.frame_of[tree.cursor_node] is pilot.app.cursor.at
        assert str(tree.cursor_node.label) in shown(pilot)
    drive(trace, person)


def test_every_place_of_every_model_can_be_shown():
    """Each kind of step of each model, in all tabs; nothing that is shown changes the trace."""
    for name in EXAMPLES:
        recorded = debug.trace(example(name)[1])
        kinds = {(step.op, step.node.shape): step.index for step in recorded}

        async def person(pilot, recorded=recorded, kinds=kinds):
            for tab in ("info", "heat", "ledger", "jacobian", "rule"):
                pilot.app.action_tab(tab)
                await settle(pilot)
                for index in kinds.values():
                    pilot.app.action_goto_step(index)
                await settle(pilot)
            await type_in(pilot, "o", "o", "o", "o")
            assert pilot.app.cursor.at.level == "model"
        drive(recorded, person, LARGE if name == "tiny" else SMALL)
        assert recorded.replay() > 0


def test_into_a_fused_operation_and_out_again(trace):
    step = next(step for step in trace if step.op == "layer_norm")

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await type_in(pilot, "s", "n")
        frame = pilot.app.cursor.at
        assert frame.level == "primitive" and frame.trace.agreement < 1e-12
        assert f"agrees with its rule to {frame.trace.agreement:.1e}" in shown(pilot)
        assert f"primitive, step 1 of {len(frame.trace)}" in shown(pilot)
        assert "gpt.py" in shown(pilot)            # the user's line, not the viewer's
        await type_in(pilot, "l", "1")             # who sent it: the step before, inside the definition
        assert pilot.app.cursor.at.trace is frame.trace and pilot.app.cursor.at.first == 0
        await type_in(pilot, "o")
        assert pilot.app.cursor.at.step is step
    drive(trace, person, LARGE)


def test_what_cannot_be_done_is_said(trace):
    async def person(pilot):
        await type_in(pilot, "p")
        assert "this is the first step" in shown(pilot)
        await type_in(pilot, "n", "s")
        assert "nothing inside" in shown(pilot)
        pilot.app.action_goto_step(len(trace) - 1)
        await type_in(pilot, "o", "n")
        assert "this is the last step" in shown(pilot)
        await type_in(pilot, "o", "o", "o")
        assert "this is the whole model" in shown(pilot)
    drive(trace, person, LARGE)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_shows_formula_shapes_numbers_and_the_users_line(trace):
    step = next(step for step in trace if step.op == "linear")

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await settle(pilot)
        text = shown(pilot)
        assert "y = x·Wᵀ + b" in text and "dx = g·W" in text and present.call(step)[:30] in text
        for row in present.statistics(step):
            assert re.sub(r"\s+", " ", " ".join(row.cells()[1:8])) in text, row
        line = present.user_line(step)
        assert line.place in text and line.lines[line.at - line.line].strip()[:40] in text
    drive(trace, person, LARGE)


def test_the_residual_identity_at_every_addition(trace):
    records = debug.residuals(trace.output)
    assert len(records) == 4

    async def person(pilot):
        seen = []
        for step in (step for step in trace if step.op in ("add", "relu", "layer_norm")):
            pilot.app.action_goto_step(step.index)
            await settle(pilot)
            text = shown(pilot)
            if "dL/dx = dL/dy + dL/dy·dF/dx" in text:
                seen.append(step)
                record = records[len(seen) - 1]
                for words, value in zip(("came, by the skip", "the branch adds", "sum: |dL/dx|"), record.norms):
                    assert f"{words} {present.number(value)} " in text
                assert f"{record.angle:.1f}°" in text and f"error {record.error:.0e}" in text
        assert len(seen) == 4 < sum(step.op == "add" for step in trace)
    drive(trace, person, LARGE)


def test_a_ledger_says_who_sent_what_and_leads_there(trace):
    step = next(step for step in trace if len(step.ledger) > 1)

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await type_in(pilot, "l")
        text = shown(pilot)
        for entry in step.ledger:
            assert f"{entry.consumer}.{entry.argument} {present.number(present.norm(entry.contribution))} " \
                   f"{present.number(present.norm(entry.running))} {entry.left}" in text
        last = list(step.ledger)[-1]
        panel = pilot.app.query_one("#ledger Static")
        x, y = place_of(panel, f"{last.consumer}.{last.argument}")
        await pilot.click(panel, offset=(x + 1, y))
        await settle(pilot)
        assert pilot.app.cursor.index == last.step
        pilot.app.action_goto_step(step.index)
        await type_in(pilot, "1")
        assert pilot.app.cursor.index == list(step.ledger)[0].step
        await type_in(pilot, "9")
        assert "no line 9" in shown(pilot)
    drive(trace, person, (120, 40))


def test_a_long_ledger_is_cut_around_this_step():
    x = npf.ones(3, dtype=npf.float64).requires_grad_()
    many = debug.trace(lambda: sum((x * k).sum() for k in range(2, 202)))

    async def person(pilot):
        pilot.app.action_goto_step(next(step.index for step in many if step.name == "mul#100"))
        await type_in(pilot, "l")
        text = shown(pilot)[shown(pilot).index("dL/d(x)"):]
        assert re.search(r"… 8\d more.*mul#102\.a.*mul#100\.a.*… 9\d more.*mul\.a", text) and "mul#50.a" not in text
    drive(many, person, (120, 60))


def test_the_rule_of_an_operation_is_its_source(trace):
    async def person(pilot):
        pilot.app.action_goto_step(next(step.index for step in trace if step.op == "layer_norm"))
        await type_in(pilot, "r")
        assert "layer_norm_backward" in shown(pilot) and "npformer/ops/normalization.py" in shown(pilot)
        await type_in(pilot, "o")
        assert "no rule of its own" in shown(pilot)
    drive(trace, person)


# ── maps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pointing_at_a_cell_says_its_value(trace):
    step = next(step for step in trace if step.op == "linear" and step.upstream.shape[-1] <= 50)
    g = step.upstream

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await type_in(pilot, "h", "full_stop")
        heat = pilot.app.query_one("#heat HeatMap", HeatMap)
        across, down = heat.side
        await pilot.hover(heat, offset=(7 * across, 4 * down // 2))
        await settle(pilot)
        row = 2 * (4 * down // 2) // down
        assert f"g[1, {row}, 7] = {present.number(g[1, row, 7], 6)}" in shown(pilot)
        await type_in(pilot, "tab", "down", "right", "down")
        assert "g[1, " in shown(pilot)
        await pilot.hover("#title")
        await type_in(pilot, "tab", "down", "right", "down")
        assert f"g[1, 1, 1] = {present.number(g[1, 1, 1], 6)}" in shown(pilot)
        await type_in(pilot, "escape", "down")     # the arrows walk again
        assert pilot.app.cursor.index != step.index
    drive(trace, person)


def test_another_array_by_key_and_by_click_stays_from_step_to_step(trace):
    first, second = [step for step in trace if step.op == "linear"][:2]

    async def person(pilot):
        pilot.app.action_goto_step(first.index)
        await type_in(pilot, "h", "right_square_bracket")
        assert "sent dx" in shown(pilot)
        choices = pilot.app.query_one("#heat .choices")
        x, y = place_of(choices, "dweight")
        await pilot.click(choices, offset=(x + 1, y))
        await settle(pilot)
        assert "sent dweight" in shown(pilot)
        pilot.app.action_goto_step(second.index)
        await settle(pilot)
        assert "sent dweight" in shown(pilot)
        assert pilot.app.query_one("#heat HeatMap", HeatMap).array is second.gradients["dweight".removeprefix("d")]
    drive(trace, person)


def test_a_large_screen_draws_what_arrived_above_what_was_sent(trace):
    step = next(step for step in trace if step.op == "linear")

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await settle(pilot)
        text = shown(pilot)
        assert text.index("arrived g") < text.index("sent dx") < text.index("sent dweight")
    drive(trace, person, LARGE)


def test_the_colours_of_a_map_are_signed_and_nan_is_told(trace):
    x = npf.tensor([[1.0, -1.0, 0.5, 0.0], [2.0, 4.0, -4.0, 1.0]], dtype=npf.float64).requires_grad_()
    odd = npf.tensor([[1.0, -1.0, np.nan, 0.0], [np.inf, 4.0, -4.0, 1.0]], dtype=npf.float64)
    bad = debug.trace(lambda: (x * odd).sum())

    async def person(pilot):
        await type_in(pilot, "n", "h", "right_square_bracket")         # da = g · odd
        heat = pilot.app.query_one("#heat HeatMap", HeatMap)
        across, down = heat.side
        cell = lambda r, c: tuple(heat.pixels[r * down, c * across])           # noqa: E731
        colours = pilot.app.query_one(ModuleTree) and __import__("npformer.debug.colours", fromlist=["DARK"]).DARK
        assert cell(1, 1) == colours.positive and cell(1, 2) == colours.negative
        assert cell(0, 3) == colours.zero and cell(0, 2) == cell(1, 0) == colours.nan
        assert "NaN or inf" in shown(pilot)
        await type_in(pilot, "i")
        assert "1 NaN 1 inf" in shown(pilot)
        await type_in(pilot, "t", "h")
        assert tuple(heat.pixels[down, across]) != colours.positive
    drive(bad, person)


def test_the_jacobian_that_is_drawn_is_the_steps(trace):
    step = next(step for step in trace if step.op == "layer_norm")

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await type_in(pilot, "j")
        drawn = pilot.app.query_one("#jacobian HeatMap", HeatMap).array
        at = tuple(n - 1 for n in step.node.shape[:-1])
        assert np.array_equal(drawn, step.jacobian("x", at, at)) and np.abs(drawn).max() > 0
        assert "dy/dx" in shown(pilot) and f"y{list(at)} down, x{list(at)} across" in shown(pilot)
        await type_in(pilot, "o")
        assert "nothing to draw for a module" in shown(pilot)
    drive(trace, person, (120, 40))


# ── what is not there ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_not_kept_is_said_in_words():
    summed = debug.trace(example("tiny")[1], largest=300)
    assert summed.notes

    async def person(pilot):
        pilot.app.action_goto_step(next(step.index for step in summed if step.op == "linear"))
        await type_in(pilot, "h", *["right_square_bracket"] * 4)
        assert "too large to keep" in shown(pilot) and "norm" in shown(pilot)
        await type_in(pilot, "i", "pagedown")
        assert "too large" in shown(pilot)
        await type_in(pilot, "j")
        assert "too large to keep were x, weight" in shown(pilot)
        await type_in(pilot, "s")
        assert pilot.app.cursor.at.level == "operation" and "`largest`" in shown(pilot)
        tree = pilot.app.query_one(ModuleTree)     # nor can its arrow open it
        await pilot.click(tree, offset=(tree.render_line(tree.cursor_line).text.index("▸"), tree.cursor_line))
        await settle(pilot)
        assert not tree.cursor_node.is_expanded
        await type_in(pilot, "i", "o", "o", "o")
        assert summed.notes[0][:30] in shown(pilot)
    drive(summed, person, (120, 40))


def test_a_trace_of_what_the_tape_had_kept():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    kept = debug.trace(((x + 1).reshape(12) * 2).sum())

    async def person(pilot):
        for key in ("n", "n", "n", "h", "j", "l", "r", "i"):
            await type_in(pilot, key)
        assert pilot.app.cursor.index == len(kept) - 1
    drive(kept, person)


def test_the_users_own_operation_and_names_that_look_like_markup():
    class Odd(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, g):
            return g * 3

    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("[red]x[", nn.Linear(2, 2))

        def forward(self, x):
            return Odd.apply(self.get_submodule("[red]x[")(x)).sum()

    model = Strange().double()
    strange = debug.trace(lambda: model(npf.ones(3, 2, dtype=npf.float64)))

    async def person(pilot):
        await type_in(pilot, "n", "r")
        assert "return g * 3" in shown(pilot)
        await type_in(pilot, "n")
        assert "[red]x[" in shown(pilot)
        await answer(pilot, "slash", "[b]")
        assert "no later step has '[b]'" in shown(pilot)
        await type_in(pilot, "slash")
        assert "[b] again" in shown(pilot)
    drive(strange, person, (120, 40))


def test_a_walk_of_one_leaf():
    x = npf.tensor(2.0, requires_grad=True)
    alone = debug.trace(x)

    async def person(pilot):
        await type_in(pilot, "n", "s", "o", "h", "j", "l", "r", "i", "c", "1")
        assert pilot.app.cursor.at.level == "model"
    drive(alone, person)


# ── breakpoints, search, goto ────────────────────────────────────────────────────────────────────────────────────────


def test_breakpoints(trace):
    stops = [step.index for step in trace if step.op == "attention"]

    async def person(pilot):
        await type_in(pilot, "c")
        assert "there is no breakpoint" in shown(pilot)
        await answer(pilot, "b", "op:sofmax")
        assert "no step matches" in shown(pilot) and "stops at" not in shown(pilot)
        await answer(pilot, "b", "op:attention")
        assert "stops at op:attention" in shown(pilot)
        for stop in stops:
            await type_in(pilot, "c")
            assert pilot.app.cursor.index == stop
        await type_in(pilot, "c")
        assert "no later step: op:attention" in shown(pilot) and pilot.app.cursor.index == stops[-1]
        await type_in(pilot, "C")
        assert pilot.app.cursor.index == stops[0]
        await answer(pilot, "b", "")
        assert "stops at" not in shown(pilot)
    drive(trace, person, (120, 40))


def test_search_and_goto(trace):
    found = [step.index for step in trace if "embedding" in step.name]

    async def person(pilot):
        await answer(pilot, "slash", "embedding")
        assert pilot.app.cursor.index == found[0]
        await answer(pilot, "slash", "")
        assert pilot.app.cursor.index == found[1]
        await answer(pilot, "g", "5")
        assert pilot.app.cursor.index == 5
        await answer(pilot, "g", "9999")
        assert "there is no step 9999" in shown(pilot)
        await answer(pilot, "g", "five")
        assert "'five' is no number" in shown(pilot) and pilot.app.cursor.index == 5
        await type_in(pilot, "g", "escape", "n")   # a question that is left unanswered
        assert pilot.app.cursor.index == 6
    drive(trace, person, (120, 40))


# ── the mouse, themes, help ──────────────────────────────────────────────────────────────────────────────────────────


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
        assert line.is_expanded and len(line.children) == len(where.children) and pilot.app.cursor.at is where
        await pilot.click(tree, offset=(x + 4, y + 1))
        await settle(pilot)
        assert pilot.app.cursor.at is where.children[0]
        await type_in(pilot, "n")                  # a click takes no keys away
        assert pilot.app.cursor.at is where.children[1]
    drive(trace, person)


def test_a_click_on_a_layer_and_on_a_part_of_a_module_goes_there(trace):
    layers = present.layers(trace)

    async def person(pilot):
        row = pilot.app.query_one(Layers)
        _, columns = row.places()
        await pilot.click(row, offset=(1 + 9 * columns, 0))
        await settle(pilot)
        assert pilot.app.cursor.index == layers[9].first
        assert f"{layers[9].where} {present.number(layers[9].norm)}" in shown(pilot)
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
        for binding in Stepper.KEYS:
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
        assert pilot.app.query_one("#side").display and pilot.app.query_one("#heat ArrayView", ArrayView).choices
    drive(trace, person)


# ── size, and what is missing ────────────────────────────────────────────────────────────────────────────────────────


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
    monkeypatch.setattr(step.app, "run", opened.append)
    monkeypatch.setattr(step.sys, "stdin", Terminal())
    monkeypatch.setattr(step.sys, "stdout", Terminal())
    assert main(["step", "--app", "--model", "vit"]) == 0
    assert [found.title for found in opened] == ["VisionTransformer"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True
