"""Shell commands that run up to a place: breakpoints, watches, continue in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.facts import number
from ..views.conditions import Condition
from .names import node_named
from .screens import plural, screen
from .session import Breakpoint, command

if TYPE_CHECKING:
    from .session import Session


@command("continue", "c", group="breakpoints")
def continue_(session: Session, rest: str) -> str:
    """On to the next step where a breakpoint's condition holds, or that adds to the watched tensor; else to the end."""
    return run(session, 1)


@command("reverse-continue", "rc", group="breakpoints")
def reverse_continue(session: Session, rest: str) -> str:
    """The same, backwards."""
    return run(session, -1)


def run(session, by):
    """Run on (1) or back (-1), and say what stopped it."""
    hit = []

    def accepts(step):
        hit[:] = [n for n, point in session.breakpoints.items() if point.condition.holds(step)]
        hit.extend(["watch"] if adds(session, step) else [])
        return hit

    for point in session.breakpoints.values():
        point.condition.unknown, point.condition.reason = 0, ""
    at_once = session.fresh and by > 0 and session.frame.step is not None and accepts(session.frame.step)
    found, session.fresh = at_once or session.cursor.run(accepts, by), False
    notes = [f"breakpoint {n} ({point.condition.text}): {plural(point.condition.unknown, 'step')} could not be judged: "
             f"{point.condition.reason}" for n, point in session.breakpoints.items() if point.condition.unknown]
    if not found:
        return ended(session, by, notes)
    for n in hit:
        notes.append(f"{session.watched} gets a contribution here" if n == "watch" else
                     f"breakpoint {n}: {session.breakpoints[n].condition.text}")
        if n != "watch":
            session.failed |= session.breakpoints[n].condition.about_rules
            if session.breakpoints[n].once:
                del session.breakpoints[n]
    return "\n".join([*notes, screen(session)])


def ended(session, by, notes):
    """Nothing stopped a run: stand at its end."""
    here = session.frame
    session.cursor.goto(-1 if by > 0 else 0)
    end = "the last step" if by > 0 else "the first step"
    if session.frame is here:
        return "\n".join([*notes, f"this is {end}"])
    what = "no breakpoint was met" if session.breakpoints or session.watched else "there is no breakpoint"
    return "\n".join([*notes, f"{what}: this is {end}", screen(session)])


def adds(session, step):
    """Whether a step sends something to the watched tensor."""
    return session.watched is not None and any(
        c.step == step.index for c in session.trace.named[session.watched].contributions)


@command("break CONDITION", "b", group="breakpoints")
def break_(session: Session, rest: str) -> str:
    """Stop where CONDITION holds: op:softmax, name:blocks.1.*, nan, inf, mismatch, norm(g) > 10, norm(g) < 1e-7,
    zeros(dx) > 0.9, fan-out > 1, and any sum, comparison, `and`, `or`, `not` of these. An array holds if any entry does.

    Names: g (what arrived), y (the output), the inputs (x), what was sent (dx), what was saved; op, name, where, index,
    fanout. Functions: norm, zeros (the fraction), abs, max, min, mean, std, sum, any, all, isnan, isinf, size.
    mismatch: a fused rule differs from the operation's definition, any other from finite differences.
    Alone, it lists the breakpoints.
    """
    return set_breakpoint(session, rest, False) if rest else breakpoints(session, "")


@command("tbreak CONDITION", group="breakpoints")
def tbreak(session: Session, rest: str) -> str:
    """A breakpoint that stops once."""
    return set_breakpoint(session, rest, True)


def set_breakpoint(session, rest, once):
    """A new breakpoint; it says so if it holds already where we stand."""
    condition = Condition(rest, session.trace)
    n = max(session.breakpoints, default=0) + 1
    session.breakpoints[n] = Breakpoint(condition, once)
    here = session.frame.step is not None and not session.frame.inside_a_step and condition.holds(session.frame.step)
    session.failed |= bool(here and condition.about_rules)
    return f"breakpoint {n}: {condition.text}{' (once)' if once else ''}{'; it holds here, at this step' if here else ''}"


@command("breakpoints", group="breakpoints")
def breakpoints(session: Session, rest: str) -> str:
    """List the breakpoints and what is watched."""
    lines = [f"{n}  {p.condition.text}{'  (once)' if p.once else ''}" for n, p in session.breakpoints.items()]
    lines += [f"watching {session.watched}"] if session.watched else []
    return "\n".join(lines) or "there is no breakpoint; `b CONDITION` sets one"


@command("clear [N]", group="breakpoints")
def clear(session: Session, rest: str) -> str:
    """Take away breakpoint N, or all of them and the watch."""
    if not rest:
        session.breakpoints.clear()
        session.watched = None
        return "no breakpoints any more"
    if not rest.isdigit() or int(rest) not in session.breakpoints:
        known = ", ".join(map(str, session.breakpoints)) or "none"
        raise InputError(f"there is no breakpoint {rest}; there are: {known}")
    return f"breakpoint {rest} is gone: {session.breakpoints.pop(int(rest)).condition.text}"


@command("watch [NAME]", group="breakpoints")
def watch(session: Session, rest: str) -> str:
    """Watch the gradient of NAME grow: `c` stops at each step that adds to it. `watch` alone goes on to the next one."""
    if not rest:
        if session.watched is None:
            raise InputError("watch what? `watch NAME`: an input of this step (x), a parameter's name")
        if session.cursor.run(lambda step: adds(session, step)):
            return f"{session.watched} gets a contribution here\n{screen(session)}"
        return f"nothing more is added to {session.watched} after this step"
    node = watchable(session, rest)
    session.watched = node.name
    steps = [str(c.step) if c.step >= 0 else "the start of the walk" for c in node.contributions]
    return f"watching {node.name}: {plural(len(steps), 'contribution')}, from step {', '.join(steps)}"


@command("who NAME", group="breakpoints")
def who(session: Session, rest: str) -> str:
    """To the step that last added to the gradient of NAME before this one; to the last of all if none did yet."""
    node = watchable(session, rest)
    if session.frame.inside_a_step:
        raise InputError("inside a definition there is nobody else: `out` first")
    steps = [c.step for c in node.contributions if c.step >= 0]
    before = [k for k in steps if k < session.cursor.index]
    if not steps:
        return f"{node.name} got its gradient from the start of the walk"
    session.cursor.goto(max(before or steps))
    k = len([s for s in steps if s <= session.cursor.index])
    sent = next(c for c in node.contributions if c.step == session.cursor.index)
    return (f"{node.name} got contribution {k} of {len(steps)} here, as d{session.step.node.op.name_of(sent.argument)}"
            f" ({'nothing had come before step ' + str(min(steps)) if not before else 'the last before where you were'})"
            f", {number(float((sent.array ** 2).sum() ** 0.5))} in norm\n{screen(session)}")


def watchable(session, rest):
    """The node whose gradient is meant, which must be one of the whole trace."""
    if not rest:
        raise InputError("which tensor? An input of this step (x), or a parameter's name")
    node = node_named(session, rest)
    if session.trace.named.get(node.name) is not node:
        raise InputError("inside a definition nothing can be watched: `out` first")
    if not node.contributions:
        raise InputError(f"no gradient came to {node.name}")
    return node
