"""The terminal app, driven as a person would: walking, and what is on the screen then."""

import re

import numpy as np
import pytest

from npformer.core import facts
from npformer.debug.views import source_text

pytest.importorskip("textual")

from app_driver import LARGE, SMALL, answer, drive, place_of, screen, settle, shown, type_in

import npformer as npf
from npformer import debug
from npformer.debug.app.tree import ModuleTree
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.views import statistics
from npformer.debug.views.frames import Cursor

# ── walking ───────────────────────────────────────────────────────────────────────────────────────


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
    """A long random walk by keys lands where the words over, into, out and back land."""
    rng, cursor = np.random.default_rng(3), Cursor(trace)
    moves = {"n": "over", "down": "over", "p": "back", "up": "back", "s": "into", "right": "into",
             "o": "out", "left": "out"}
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
        await type_in(pilot, "l", "1")             # who sent it: the step before, in here
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


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────


def test_a_step_shows_formula_shapes_numbers_and_the_users_line(trace):
    step = next(step for step in trace if step.op == "linear")

    async def person(pilot):
        pilot.app.action_goto_step(step.index)
        await settle(pilot)
        text = shown(pilot)
        assert "y = x·Wᵀ + b" in text and "dx = g·W" in text and statistics.call(step)[:30] in text
        for row in statistics.statistics(step):
            assert re.sub(r"\s+", " ", " ".join(row.cells()[1:8])) in text, row
        line = source_text.user_line(step)
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
                labels = "arrived, by the skip", "the branch adds", "sum: |dL/dx|"
                for words, value in zip(labels, record.norms):
                    assert f"{words} {facts.four_digits(value)} " in text
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
            sent = facts.four_digits(facts.norm(entry.contribution))
            assert f"{entry.consumer}.{entry.argument} {sent} " \
                   f"{facts.four_digits(facts.norm(entry.running))} {entry.left}" in text
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
        assert re.search(r"… 8\d more.*mul#102\.a.*mul#100\.a.*… 9\d more.*mul\.a", text)
        assert "mul#50.a" not in text
    drive(many, person, (120, 60))


def test_the_rule_of_an_operation_is_its_source(trace):
    async def person(pilot):
        pilot.app.action_goto_step(next(step.index for step in trace if step.op == "layer_norm"))
        await type_in(pilot, "r")
        assert "layer_norm_backward" in shown(pilot)
        assert "npformer/ops/normalization.py" in shown(pilot)
        await type_in(pilot, "o")
        assert "no rule of its own" in shown(pilot)
    drive(trace, person)


# ── breakpoints, search, goto ─────────────────────────────────────────────────────────────────────


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
        assert "'five' is not a number" in shown(pilot) and pilot.app.cursor.index == 5
        await type_in(pilot, "g", "escape", "n")   # a question that is left unanswered
        assert pilot.app.cursor.index == 6
    drive(trace, person, (120, 40))
