"""Commands that guess and change: predict a number before it is shown, set a value, plant a wrong
rule, and run the program again with that.

A session keeps what was changed as one `Changes`, from the trace as it was recorded. Each command
here copies it, adds to the copy and hands that to `apply_changes`: if the rerun fails, the session
still has the changes that it had.
"""

from __future__ import annotations

import difflib

import numpy as np

from ...core import facts, writes
from ...core.errors import InputError
from ...core.facts import ArrayFacts, four_digits
from ..traces.mistakes import mistakes_for
from ..traces.rerun import Changes
from ..views import statistics
from ..views.tables import columns
from . import screens
from .names import find_target
from .session import Question, Session, command

TRIES, CLOSE = 3, 0.01


@command("predict NAME[INDEX] [VALUE]", group="try")
def predict(session: Session, rest: str) -> str:
    """Say a number before it is shown: `predict dx[0, 1]`, then the number. Within 1 % counts as
    right, and so does 1/1000 of the largest entry, for numbers near 0. Three tries; an empty line
    gives up."""
    text, value = rest, None
    if not rest.endswith("]") and len(rest.split()) > 1:
        text, value = rest.rsplit(maxsplit=1)
    target = find_target(session, text)
    truth = target.value()
    if np.ndim(truth) or not isinstance(truth, (float, int, np.ndarray, np.generic)):
        raise InputError(f"predict one number: {target.label}[…], an index for each dim of "
                         f"{statistics.shape_of(truth)}")
    slack = CLOSE * abs(float(truth))
    if target.array.size:
        slack = max(slack, 1e-3 * float(np.nanmax(np.abs(target.array))))
    question = ask_for(target.label, float(truth), slack, TRIES)
    if value is None:
        session.question = question
        return (f"{target.label}: what is it? Right within {four_digits(slack, 2)}. {TRIES} tries, "
                "an empty line gives up.")
    reply = question.judge(session, value)
    if reply is None:
        raise InputError(f"{value!r} is not a number")
    return reply


def ask_for(label, truth, slack, tries):
    def judge(session, text):
        if not text:
            return f"it is {label} = {four_digits(truth, 6)}"
        try:
            guess = float(text)
        except ValueError:
            return None                            # not an answer: perhaps another command
        off = abs(guess - truth)
        if off <= slack:
            return f"right: {label} = {four_digits(truth, 6)}, off by {off:.1g}"
        if tries == 1:
            return (f"no: {label} = {four_digits(truth, 6)}, off by {off:.2g}. "
                    "`rule` shows how it is made.")
        session.question = ask_for(label, truth, slack, tries - 1)
        left = screens.plural(tries - 1, "try" if tries == 2 else "trie")
        return f"no: {describe_miss(guess, truth)}. {left} left."
    return Question(f"{label} = ? ", judge)


def describe_miss(guess, truth):
    """How a guess is wrong, without telling the number."""
    if truth and guess and (guess < 0) != (truth < 0):
        alike = abs(abs(guess) - abs(truth)) <= 0.02 * abs(truth)
        return "the sign is the other one" + ("" if alike else ", and the size differs")
    if truth and guess:
        factor = max(guess / truth, truth / guess)
        much = (f"a factor of {four_digits(factor, 2)}" if factor >= 2 else
                f"{four_digits(100 * (factor - 1), 2)} %")
        return f"too {'large' if abs(guess) > abs(truth) else 'small'}, by {much}"
    return f"off by {abs(guess - truth):.1g}"


@command("set NAME[INDEX] = VALUE", group="try")
def set_(session: Session, rest: str) -> str:
    """Change an input, a parameter or what arrived (g), run the program again, and say what that
    changes.

    `set weight[0] = 2`, `set g = 0`, `set blocks.0.ff1.bias = 1`. Other steps see the change as
    well.
    """
    name, sign, text = rest.partition("=")
    if not sign:
        raise InputError("write it as: set NAME[INDEX] = NUMBER")
    refuse_inside_definition(session)
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"set: {text.strip()!r} is not a number") from None
    target = find_target(session, name)
    array = array_with(target, value)
    changes = copy_changes(session.changes)
    if target.node is None:
        # A constant has no node, so no number to note the change by. All steps that read the same
        # memory must see it, so it is noted by its place in memory. That must be the place in the
        # original trace, which is what is rerun: after an earlier `set`, the array that we see
        # here is the changed copy, and lies elsewhere.
        recorded = session.original[session.cursor.index].inputs[target.name]
        changes.constants[writes.memory_place(recorded)] = array
    elif target.role == "arrived":
        changes.upstream[target.node.number] = array
    else:
        changes.values[target.node.number] = array
    return apply_changes(session, changes, f"{name.strip()} = {four_digits(value)}")


def array_with(target, value):
    """A copy of the array that was named, with a value set in it. Raises InputError."""
    if target.role not in ("arrived", "input", "value", "output"):
        raise InputError(f"{target.name} is computed by this step's rule; `patch` changes rules, "
                         "`set` values and g")
    if not isinstance(target.array, np.ndarray):
        what = ("a summary: too large to keep" if isinstance(target.array, ArrayFacts) else
                "not an array")
        raise InputError(f"{target.name} is {what}")
    array = np.array(target.array)
    # 0.5 in an array of integers would become 0 without a word.
    if array.dtype.kind != "f" and value != array.dtype.type(value):
        raise InputError(
            f"set: {target.name} is {array.dtype}, so it cannot be {four_digits(value)}")
    try:
        array[target.subscript()] = value
    except (IndexError, ValueError, OverflowError) as error:
        raise InputError(f"set {target.label}: {error}") from None
    return array


@command("patch [MUTANT]", group="try")
def patch(session: Session, rest: str) -> str:
    """Give this step the wrong rule of that name and make the walk again. `patch` alone lists those
    that fit here.

    They are the planted mistakes of `npformer check --mutants`. `b mismatch; c` finds such a step,
    `unpatch` mends it.
    """
    refuse_inside_definition(session)
    step = session.step
    # Of the recorded step: what fits is found by comparing gradients, and a step that is patched
    # already has those of the wrong rule.
    mutants = mistakes_for(session.original[step.index])
    if not rest:
        if not mutants:
            return (f"no planted mistake fits {step.op} as it is used here; steps with relu, "
                    "softmax, gelu, add have some")
        head = f"{len(mutants)} planted mistakes fit {step.op}; patch NAME takes one:"
        return "\n".join([head, *(f"  {name}" for name in mutants)])
    name = match_name(rest, mutants)
    changes = copy_changes(session.changes)
    changes.rules[step.node.number] = mutants[name]
    text = apply_changes(session, changes, f"step {step.index} now has the rule of `{name}`")
    # Many mistakes do not show at every point: a forgotten factor where it is 1, say. Without
    # this word "nothing differs" would read as if the patch had failed.
    if session.step.check():
        text += ("\nat these values it gives the right gradient all the same: no test at this "
                 "point can see it")
    return text


def match_name(text, names):
    """The one name that a text is, or is a part of. Raises InputError."""
    if text in names:
        return text
    near = [name for name in names if text.lower() in name.lower()]
    if len(near) == 1:
        return near[0]
    close = near or difflib.get_close_matches(text, names, 4, 0.3)
    if close:
        raise InputError(f"which mistake is {text!r}? {'; '.join(close)}")
    raise InputError(f"no planted mistake that fits here is called {text!r}; `patch` lists them")


@command("unpatch", group="try")
def unpatch(session: Session, rest: str) -> str:
    """Take the planted mistakes out again."""
    if not session.changes.rules:
        return "nothing is patched"
    changes = copy_changes(session.changes)
    changes.rules.clear()
    return apply_changes(session, changes, "every step has its own rule again")


@command("reset", group="try")
def reset(session: Session, rest: str) -> str:
    """Undo every `set` and `patch`."""
    if not session.changes:
        return "nothing was changed"
    return apply_changes(session, type(session.changes)(), "everything is as it was recorded")


@command("rerun", group="try")
def rerun_(session: Session, rest: str) -> str:
    """Make the whole pass again, forward and back, with what was changed; without changes the bits
    must be the same."""
    if not session.changes:
        return f"walked again: {session.original.replay()} gradients are the same, bit for bit"
    return apply_changes(session, copy_changes(session.changes), "ran again")


@command("diff", group="try")
def diff(session: Session, rest: str) -> str:
    """What differs from the trace as it was recorded: the first value or gradient, the loss, the
    parameters most of all."""
    return describe_differences(session)


def refuse_inside_definition(session):
    """Raise InputError inside a definition: it is made from its step, and is not a program."""
    if session.frame.inside_a_step:
        raise InputError("inside a definition nothing can be changed: `out` first, and change the "
                         "step itself")


def copy_changes(changes: Changes) -> Changes:
    return type(changes)(*[dict(part) for part in vars(changes).values()])


def apply_changes(session, changes, words):
    session.apply(changes)
    notes = [note for note in session.trace.notes if note not in session.original.notes]
    return "\n".join([words, *notes, describe_differences(session)])


def describe_differences(session: Session) -> str:
    """What a rerun changed, in words: the first difference, the loss, the leaves most of all."""
    before, after = session.original, session.trace
    rounding = tolerance(session)
    found = before.diff(after, rounding)
    rows = leaf_changes(before, after)
    # The leaves count as changed only well above rounding: it grows on the way down to them.
    # A NaN share is a change too, hence `not <=` and not `>`.
    changed = [row for row in rows if not row[0] <= 1000 * rounding]
    changed.sort(key=lambda row: -row[0])
    if found is None or (rounding and not changed):
        return ("nothing differs from what was recorded"
                + (", but for rounding" if before.diff(after) else ""))
    lines = [found.message]
    losses = [trace.nodes[trace.seeds[0][0]].value for trace in (before, after)]
    if all(isinstance(v, np.ndarray) and v.size == 1 for v in losses) and losses[0] != losses[1]:
        was, now = (four_digits(loss.item(), 6) for loss in losses)
        lines.append(f"loss {was} → {now}")
    if changed:
        lines.append(f"{len(changed)} of {len(rows)} leaves get another gradient, most of all:")
        texts = []
        for share, a, b in changed[:4]:
            was, now = (four_digits(facts.norm(leaf.gradient)) for leaf in (a, b))
            texts.append((a.name, f"|d| {was} → {now}", f"off by {share:.2g}"))
        lines += [f"  {text}" for text in columns(texts, left=3)]
    return "\n".join(lines)


def tolerance(session):
    """The relative difference that is still rounding: none, unless a rule was patched. Without a
    patch the same code runs on the same numbers, and any bit that differs is news. A planted rule
    may add up in another order, so the last bits differ even where it is right."""
    if not session.changes.rules:
        return 0.0
    return 1e-12 if session.original[0].upstream.dtype.itemsize == 8 else 1e-5


def leaf_changes(before, after):
    """[(relative change of the gradient, leaf before, leaf after)] of the leaves that have one."""
    pairs = [(a, b) for a, b in zip(before.nodes, after.nodes) if a.op is None and
             isinstance(a.gradient, np.ndarray) and isinstance(b.gradient, np.ndarray)]
    # A gradient that is 0 but for rounding (of a key's bias) would change by 100 % each time,
    # so a leaf is never measured against less than a millionth of the largest gradient.
    largest = max((facts.norm(a.gradient) for a, _ in pairs), default=0)
    least = 1e-6 * largest + 1e-300                # and never against 0
    return [(facts.norm(a.gradient - b.gradient) / max(facts.norm(a.gradient), least), a, b)
            for a, b in pairs]
