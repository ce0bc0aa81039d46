"""The terminal app: arrays as heat maps, and what is not there to be drawn."""

import numpy as np
import pytest

from npformer.core import facts

pytest.importorskip("textual")

from app_driver import LARGE, answer, drive, place_of, settle, shown, type_in

import npformer as npf
from npformer import debug, nn
from npformer.debug.app.heat import HeatMap
from npformer.debug.app.tree import ModuleTree
from npformer.debug.examples import example
from npformer.debug.views.colours import DARK

# ── maps ──────────────────────────────────────────────────────────────────────────────────────────


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
        assert f"g[1, {row}, 7] = {facts.four_digits(g[1, row, 7], 6)}" in shown(pilot)
        await type_in(pilot, "tab", "down", "right", "down")
        assert "g[1, " in shown(pilot)
        await pilot.hover("#title")
        await type_in(pilot, "tab", "down", "right", "down")
        assert f"g[1, 1, 1] = {facts.four_digits(g[1, 1, 1], 6)}" in shown(pilot)
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
        array = pilot.app.query_one("#heat HeatMap", HeatMap).array
        assert array is second.gradients["weight"]
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
    x = npf.tensor([[1.0, -1.0, 0.5, 0.0], [2.0, 4.0, -4.0, 1.0]], dtype=npf.float64)
    x.requires_grad_()
    odd = npf.tensor([[1.0, -1.0, np.nan, 0.0], [np.inf, 4.0, -4.0, 1.0]], dtype=npf.float64)
    bad = debug.trace(lambda: (x * odd).sum())

    async def person(pilot):
        await type_in(pilot, "n", "h", "right_square_bracket")         # da = g · odd
        heat = pilot.app.query_one("#heat HeatMap", HeatMap)
        across, down = heat.side
        cell = lambda r, c: tuple(heat.pixels[r * down, c * across])           # noqa: E731
        colours = DARK
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


# ── what is not there ─────────────────────────────────────────────────────────────────────────────


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
        arrow = tree.render_line(tree.cursor_line).text.index("▸")
        await pilot.click(tree, offset=(arrow, tree.cursor_line))
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
