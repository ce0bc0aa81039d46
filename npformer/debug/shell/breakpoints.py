"""Commands that run up to a place: breakpoints, watches, continue in both directions."""

from __future__ import annotations

from ...core import facts
from ...core.errors import InputError
from ...core.facts import four_digits
from ..views.conditions import Condition
from .names import node_named
from .screens import plural, screen
from .session import Breakpoint, Session, command

# ── running ──────────────────────────────────────────────────────────────────────────────────────


@command("continue", "c", group="breakpoints")
def continue_(session: Session, rest: str) -> str:
    """On to the next step where a breakpoint's condition holds, or that adds to the watched tensor;
    else to the end."""
    return run_to_breakpoint(session, 1)


@command("reverse-continue", "rc", group="breakpoints")
def reverse_continue(session: Session, rest: str) -> str:
    """The same, backwards."""
    return run_to_breakpoint(session, -1)


def run_to_breakpoint(session, by):
    """Run on (1) or back (-1), and say what stopped it."""
    hit = []                                       # numbers of breakpoints, and "watch"

    def stops(step):
        hit[:] = [n for n, point in session.breakpoints.items() if point.condition.holds(step)]
        if adds_to_watched(session, step):
            hit.append("watch")
        return hit

    for point in session.breakpoints.values():     # the notes below are about this run alone
        point.condition.unknown, point.condition.reason = 0, ""
    # Nobody has looked at the first step yet when a session begins: it counts as ahead, once.
    step = session.frame.step
    found = session.at_start and by > 0 and step is not None and stops(step)
    found = found or session.cursor.run(stops, by)
    session.at_start = False
    notes = []
    for n, (condition, _) in session.breakpoints.items():
        if condition.unknown:
            notes.append(f"breakpoint {n} ({condition.text}): {plural(condition.unknown, 'step')} "
                         f"could not be judged: {condition.reason}")
    if not found:
        return stand_at_end(session, by, notes)
    for n in hit:
        if n == "watch":
            notes.append(f"{session.watched} gets a contribution here")
            continue
        condition, once = session.breakpoints[n]
        notes.append(f"breakpoint {n}: {condition.text}")
        session.failed |= condition.about_rules
        if once:
            del session.breakpoints[n]
    return "\n".join([*notes, screen(session)])


def stand_at_end(session, by, notes):
    """Nothing stopped a run: stand at the end that it ran to."""
    here = session.frame
    session.cursor.goto(-1 if by > 0 else 0)
    end = "the last step" if by > 0 else "the first step"
    if session.frame is here:
        return "\n".join([*notes, f"this is {end}"])
    waited = session.breakpoints or session.watched
    what = "no breakpoint was met" if waited else "there is no breakpoint"
    return "\n".join([*notes, f"{what}: this is {end}", screen(session)])


def adds_to_watched(session, step):
    if session.watched is None:
        return False
    return any(c.step == step.index for c in session.trace.named[session.watched].contributions)


# ── conditions ───────────────────────────────────────────────────────────────────────────────────


@command("break CONDITION", "b", group="breakpoints")
def break_(session: Session, rest: str) -> str:
    """Stop where CONDITION holds: op:softmax, name:blocks.1.*, nan, inf, mismatch, norm(g) > 10,
    norm(g) < 1e-7, zeros(dx) > 0.9, fan-out > 1, and any sum, comparison, `and`, `or`, `not` of
    these. An array holds if any entry does.

    Names: g (what arrived), y (the output), the inputs (x), what was sent (dx), what was saved;
    op, name, where, index, fanout. Functions: norm, zeros (the fraction), abs, max, min, mean,
    std, sum, any, all, isnan, isinf, size.
    mismatch: a fused rule differs from the operation's definition, any other from finite
    differences. Alone, `break` lists the breakpoints.
    """
    return set_breakpoint(session, rest, False) if rest else breakpoints(session, "")


@command("tbreak CONDITION", group="breakpoints")
def tbreak(session: Session, rest: str) -> str:
    """A breakpoint that stops once."""
    return set_breakpoint(session, rest, True)


def set_breakpoint(session, rest, once):
    """A new breakpoint; it says so if it holds already where we stand."""
    condition, step = Condition(rest, session.trace), session.frame.step
    n = max(session.breakpoints, default=0) + 1
    session.breakpoints[n] = Breakpoint(condition, once)
    # `c` begins after this step (but for the very first), so it would never look at this one.
    here = step is not None and not session.frame.inside_a_step and condition.holds(step)
    session.failed |= bool(here and condition.about_rules)
    return (f"breakpoint {n}: {condition.text}{' (once)' if once else ''}"
            f"{'; it holds here, at this step' if here else ''}")


@command("breakpoints", group="breakpoints")
def breakpoints(session: Session, rest: str) -> str:
    """List the breakpoints and what is watched."""
    lines = [f"{n}  {point.condition.text}{'  (once)' if point.once else ''}"
             for n, point in session.breakpoints.items()]
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


# ── one tensor's gradient ────────────────────────────────────────────────────────────────────────


@command("watch [NAME]", group="breakpoints")
def watch(session: Session, rest: str) -> str:
    """Watch the gradient of NAME grow: `c` stops at each step that adds to it. `watch` alone goes
    on to the next one."""
    if not rest:
        if session.watched is None:
            raise InputError(
                "watch what? `watch NAME`: an input of this step (x), a parameter's name")
        if session.cursor.run(lambda step: adds_to_watched(session, step)):
            return f"{session.watched} gets a contribution here\n{screen(session)}"
        return f"nothing more is added to {session.watched} after this step"
    node = node_with_gradient(session, rest)
    session.watched = node.name
    steps = [str(c.step) if c.step >= 0 else "the start of the walk" for c in node.contributions]
    count = plural(len(steps), "contribution")
    return f"watching {node.name}: {count}, from step {', '.join(steps)}"


@command("who NAME", group="breakpoints")
def who(session: Session, rest: str) -> str:
    """To the step that last added to the gradient of NAME before this one; to the last of all if
    none did yet."""
    node = node_with_gradient(session, rest)
    if session.frame.inside_a_step:
        raise InputError("inside a definition there is nobody else: `out` first")
    steps = [c.step for c in node.contributions if c.step >= 0]
    before = [k for k in steps if k < session.cursor.index]
    if not steps:
        return f"{node.name} got its gradient from the start of the walk"
    session.cursor.goto(max(before or steps))
    place = sum(k <= session.cursor.index for k in steps)
    sent = next(c for c in node.contributions if c.step == session.cursor.index)
    argument = session.step.node.op.name_of(sent.argument)
    which = ("the last before where you were" if before else
             f"nothing had arrived before step {min(steps)}")
    return (f"{node.name} got contribution {place} of {len(steps)} here, as d{argument} ({which}), "
            f"{four_digits(facts.norm(sent.array))} in norm\n{screen(session)}")


def node_with_gradient(session, name):
    if not name:
        raise InputError("which tensor? An input of this step (x), or a parameter's name")
    node = node_named(session, name)
    if session.trace.named.get(node.name) is not node:
        raise InputError("inside a definition nothing can be watched: `out` first")
    if not node.contributions:
        raise InputError(f"no gradient arrived at {node.name}")
    return node
