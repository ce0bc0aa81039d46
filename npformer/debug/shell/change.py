"""Commands that predict and change: numbers guessed before they are shown, values set, rules replaced, and the rerun."""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING

import numpy as np

from ...core import facts, writes
from ...core.errors import InputError
from ...core.facts import ArrayFacts, number
from ..traces.mistakes import mistakes_for
from ..views import statistics
from ..views.tables import columns
from . import screens
from .names import target
from .session import Question, command

if TYPE_CHECKING:
    from ..traces.rerun import Changes
    from .session import Session

TRIES, CLOSE = 3, 0.01


# ── predicting ───────────────────────────────────────────────────────────────────────────────────────────────────────


@command("predict NAME[INDEX] [VALUE]", group="try")
def predict(session: Session, rest: str) -> str:
    """Say a number before it is shown: `predict dx[0, 1]`, then the number. Within 1 % counts as right, and so does
    1/1000 of the largest entry, for numbers near 0. Three tries; an empty line gives up."""
    text, value = rest, None
    if not rest.endswith("]") and len(rest.split()) > 1:
        text, value = rest.rsplit(maxsplit=1)
    found = target(session, text)
    truth = found.picked()
    if np.ndim(truth) or not isinstance(truth, (float, int, np.ndarray, np.generic)):
        raise InputError(f"predict one number: {found.label}[…], an index for each dim of {statistics.shape_of(truth)}")
    slack = max(CLOSE * abs(float(truth)), 1e-3 * float(np.nanmax(np.abs(found.array))) if found.array.size else 0)
    question = asked(found.label, float(truth), slack, TRIES)
    if value is None:
        session.question = question
        return f"{found.label}: what is it? Right within {number(slack, 2)}. {TRIES} tries, an empty line gives up."
    reply = question.judge(session, value)
    if reply is None:
        raise InputError(f"{value!r} is no number")
    return reply


def asked(label, truth, slack, tries):
    """The question, with so many tries left."""
    def judge(session, text):
        if not text:
            return f"it is {label} = {number(truth, 6)}"
        try:
            guess = float(text)
        except ValueError:
            return None                            # somebody would rather do something else
        if abs(guess - truth) <= slack:
            return f"right: {label} = {number(truth, 6)}, off by {abs(guess - truth):.1g}"
        if tries == 1:
            return f"no: {label} = {number(truth, 6)}, off by {abs(guess - truth):.2g}. `rule` shows how it is made."
        session.question = asked(label, truth, slack, tries - 1)
        return f"no: {hint(guess, truth)}. {screens.plural(tries - 1, 'try' if tries == 2 else 'trie')} left."
    return Question(f"{label} = ? ", judge)


def hint(guess, truth):
    """How a guess is wrong, without the number."""
    if truth and guess and (guess < 0) != (truth < 0):
        alike = abs(abs(guess) - abs(truth)) <= 0.02 * abs(truth)
        return "the sign is the other one" + ("" if alike else ", and the size differs")
    if truth and guess:
        factor = max(guess / truth, truth / guess)
        much = f"a factor of {number(factor, 2)}" if factor >= 2 else f"{number(100 * (factor - 1), 2)} %"
        return f"too {'large' if abs(guess) > abs(truth) else 'small'}, by {much}"
    return f"off by {abs(guess - truth):.1g}"


# ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@command("set NAME[INDEX] = VALUE", group="try")
def set_(session: Session, rest: str) -> str:
    """Change an input, a parameter or what arrived (g), run the program again, and say what that changes.

    `set weight[0] = 2`, `set g = 0`, `set blocks.0.ff1.bias = 1`. Other steps see the change as well.
    """
    name, sign, text = rest.partition("=")
    if not sign:
        raise InputError("write it as: set NAME[INDEX] = NUMBER")
    outermost(session)
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"set: {text.strip()!r} is no number") from None
    found = target(session, name)
    if found.role not in ("arrived", "input", "value", "output"):
        raise InputError(f"{found.name} is worked out by this step's rule; `patch` changes rules, `set` values and g")
    if not isinstance(found.array, np.ndarray):
        raise InputError(f"{found.name} is "
                         f"{'a summary: too large to keep' if isinstance(found.array, ArrayFacts) else 'no array'}")
    array = np.array(found.array)
    if array.dtype.kind != "f" and value != array.dtype.type(value):
        raise InputError(f"set: {found.name} is {array.dtype}, so it cannot be {number(value)}")
    try:
        array[found.chosen()] = value
    except (IndexError, ValueError, OverflowError) as error:
        raise InputError(f"set {found.label}: {error}") from None
    changes = copied(session.changes)
    if found.node is not None:
        (changes.upstream if found.role == "arrived" else changes.values)[found.node.number] = array
    else:
        changes.constants[writes.place(original_constant(session, found))] = array
    return applied(session, changes, f"{name.strip()} = {number(value)}")


def original_constant(session, found):
    """The array that was recorded for a constant argument: changes are noted by it."""
    step = session.original[session.cursor.index]
    return step.inputs[found.name]


@command("patch [MUTANT]", group="try")
def patch(session: Session, rest: str) -> str:
    """Give this step the wrong rule of that name and make the walk again. `patch` alone lists those that fit here.

    They are the planted mistakes of `npformer check --mutants`. `b mismatch; c` finds such a step, `unpatch` mends it.
    """
    outermost(session)
    step = session.step
    fit = mistakes_for(session.original[step.index])
    if not rest:
        names = columns([(f"  {name}",) for name in fit])
        return "\n".join([f"{len(fit)} planted mistakes fit {step.op}; patch NAME takes one:", *names]) if fit else (
            f"no planted mistake fits {step.op} as it is used here; steps with relu, softmax, gelu, add have some")
    name = named(rest, fit)
    changes = copied(session.changes)
    changes.rules[step.node.number] = fit[name]
    text = applied(session, changes, f"step {step.index} now has the rule of `{name}`")
    hidden = "\nat these values it gives the right gradient all the same: no test at this point can see it"
    return text + (hidden if session.step.check() else "")


def named(text, names):
    """The one name that a text is, or is a part of. Raises InputError."""
    if text in names:
        return text
    near = [name for name in names if text.lower() in name.lower()]
    if len(near) == 1:
        return near[0]
    close = near or difflib.get_close_matches(text, names, 4, 0.3)
    raise InputError(f"which mistake is {text!r}? {'; '.join(close)}" if close else
                     f"no planted mistake that fits here is called {text!r}; `patch` lists them")


@command("unpatch", group="try")
def unpatch(session: Session, rest: str) -> str:
    """Take the planted mistakes out again."""
    if not session.changes.rules:
        return "nothing is patched"
    changes = copied(session.changes)
    changes.rules.clear()
    return applied(session, changes, "every step has its own rule again")


@command("reset", group="try")
def reset(session: Session, rest: str) -> str:
    """Undo every `set` and `patch`."""
    if not session.changes:
        return "nothing was changed"
    return applied(session, type(session.changes)(), "everything is as it was recorded")


@command("rerun", group="try")
def rerun_(session: Session, rest: str) -> str:
    """Make the whole pass again, forward and back, with what was changed; without changes the bits must be the same."""
    if not session.changes:
        compared = session.original.replay()
        return f"walked again: {compared} gradients are the same, bit for bit"
    return applied(session, copied(session.changes), "ran again")


@command("diff", group="try")
def diff(session: Session, rest: str) -> str:
    """What differs from the trace as it was recorded: the first value or gradient, the loss, the parameters most of all."""
    return differences(session)


def outermost(session):
    """Raise InputError inside a definition: it is made from its step, and cannot be changed by itself."""
    if session.frame.inside_a_step:
        raise InputError("inside a definition nothing can be changed: `out` first, and change the step itself")


def copied(changes: Changes) -> Changes:
    """The same changes, to be added to."""
    return type(changes)(*[dict(part) for part in vars(copy.copy(changes)).values()])


def applied(session, changes, words):
    """Run with these changes, and say what that changed."""
    session.apply(changes)
    notes = [note for note in session.trace.notes if note not in session.original.notes]
    return "\n".join([words, *notes, differences(session)])


def differences(session: Session) -> str:
    """What a rerun changed, in words. A planted rule may reckon in another order: then what rounding does is left out."""
    before, after = session.original, session.trace
    rounding = 0.0 if not session.changes.rules else 1e-12 if before[0].upstream.dtype.itemsize == 8 else 1e-5
    found = before.diff(after, rounding)
    pairs = [(a, b) for a, b in zip(before.nodes, after.nodes) if a.op is None and
             isinstance(a.gradient, np.ndarray) and isinstance(b.gradient, np.ndarray)]
    nothing = 1e-6 * max((facts.norm(a.gradient) for a, _ in pairs), default=0) + 1e-300      # a gradient of rounding alone
    rows = [(facts.norm(a.gradient - b.gradient) / max(facts.norm(a.gradient), nothing), a, b) for a, b in pairs]
    changed = sorted((row for row in rows if not row[0] <= 1000 * rounding), key=lambda row: -row[0])
    if found is None or (rounding and not changed):
        return "nothing differs from what was recorded" + (", but for rounding" if before.diff(after) else "")
    lines = [found.message]
    losses = [trace.nodes[trace.seeds[0][0]].value for trace in (before, after)]
    if all(isinstance(v, np.ndarray) and v.size == 1 for v in losses) and losses[0] != losses[1]:
        lines.append(f"loss {number(losses[0].item(), 6)} → {number(losses[1].item(), 6)}")
    if changed:
        lines.append(f"{len(changed)} of {len(rows)} leaves get another gradient, most of all:")
        lines += [f"  {text}" for text in columns(
            [(a.name, f"|d| {number(facts.norm(a.gradient))} → {number(facts.norm(b.gradient))}", f"off by {share:.2g}")
             for share, a, b in changed[:4]], left=3)]
    return "\n".join(lines)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@command("save FILE", group="session")
def save(session: Session, rest: str) -> str:
    """Write the trace into FILE; `npformer step --load FILE` and `Trace.load` read it."""
    if not rest:
        raise InputError("save into which file?")
    if session.changes.rules:
        raise InputError("a trace with a planted mistake cannot be saved: it would not repeat itself. `unpatch` first")
    session.trace.save(rest)
    return f"{rest}: {screens.plural(len(session.trace), 'step')}"


@command("export PAGE.html", group="session")
def export(session: Session, rest: str) -> str:
    """Write a page to step through in a browser: one file, no network."""
    if not rest:
        raise InputError("export into which file? `export page.html`")
    return f"{rest}: {len(session.trace.to_html(rest)) / 1e6:.1f} MB"


