"""Commands that move: step by step, to a breakpoint, to a place, and the breakpoints themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import InputError
from ..conditions import Condition
from ..present import number, short
from .naming import node_named
from .screens import module_frames, plural, screen
from .session import Breakpoint, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import Session


def count(rest: str) -> int:
    """How many times, 1 unless told."""
    if not rest:
        return 1
    if not rest.isdigit() or not int(rest):
        raise InputError(f"how many times? A whole number, 1 or more, not {rest!r}")
    return int(rest)


def moved(session: Session, move: Callable[[], bool], times: int, end: str) -> str:
    """Move so often; the screen where that leads, or, where nothing moves, why."""
    before = session.frame
    for _ in range(times):
        if not move():
            break
    return end if session.frame is before else screen(session)


@command("next [COUNT]", "n", group="move")
def next_(session: Session, rest: str) -> str:
    """Over to the next step back, or over a whole module; out of it where it ends."""
    return moved(session, session.cursor.over, count(rest), "this is the last step: the walk ends here. `back` goes back.")


@command("step", "s", group="move")
def step_into(session: Session, rest: str) -> str:
    """Into a module, or into the definition of a fused operation; elsewhere as `next`."""
    if not session.cursor.into():
        return next_(session, "")
    frame = session.frame
    if not frame.inside_a_step or frame.parent is None or not frame.parent.opens:
        return screen(session)
    fused = session.trace[session.cursor.index]
    return (f"the definition of {fused.op}, on the values that were recorded: its gradients and the rule's differ by "
            f"{frame.trace.agreement:.1e} of the largest entry\n{screen(session)}")


@command("out", "up", group="move")
def out(session: Session, rest: str) -> str:
    """Out to the module around, or out of a definition."""
    return moved(session, session.cursor.out, count(rest), "this is the whole model: there is nothing around it")


@command("back [COUNT]", "prev", group="move")
def back(session: Session, rest: str) -> str:
    """To the step before, on this level: stepping back costs nothing."""
    return moved(session, session.cursor.back, count(rest), "this is the first step: the walk begins here")


@command("goto N", "g", group="move")
def goto(session: Session, rest: str) -> str:
    """To step N; negative numbers count from the end. `goto NAME` goes to the step of that name."""
    try:
        session.cursor.goto(int(rest))
    except ValueError as error:
        if rest.lstrip("-").isdigit() or not rest:
            raise InputError(str(error) if rest else "goto which step? A number, or a name") from None
        node = node_named(session, rest)
        if node.number not in session.trace.step_at or session.frame.inside_a_step:
            raise InputError(f"{node.name} is no step: it is a leaf, which only receives. `who {rest}` goes to who sent it "
                             "its gradient.") from None
        session.cursor.goto(session.trace.step_at[node.number])
    return screen(session)


@command("/TEXT", group="move")
def search(session: Session, rest: str) -> str:
    """On to the next step whose name, operation, module or line of code holds TEXT. `/` alone: the same again."""
    return sought(session, rest, 1)


@command("?TEXT", group="move")
def search_back(session: Session, rest: str) -> str:
    """The same, backwards."""
    return sought(session, rest, -1)


def sought(session, rest, by):
    """Search on (1) or back (-1)."""
    session.sought = text = rest or session.sought
    if not text:
        raise InputError("search for what? /softmax, /blocks.1, /model.py:46")

    def holds(step):
        line = f"{short(step.source[0])}:{step.source[1]}" if step.source else ""
        return text.lower() in f"{step.name} {step.op} {step.where} {line}".lower()

    if session.cursor.run(holds, by):
        return screen(session)
    return f"no step {'after' if by > 0 else 'before'} this one holds {text!r}"


@command("layer+", group="move")
def layer_on(session: Session, rest: str) -> str:
    """To the next module that the walk enters."""
    ahead = [frame for frame in module_frames(session.cursor.root) if frame.first > session.cursor.index]
    return to_frame(session, ahead[0] if ahead else None, "no module begins after this step")


@command("layer-", group="move")
def layer_back(session: Session, rest: str) -> str:
    """To the module that the walk entered before."""
    here = session.frame if not session.frame.inside_a_step and session.frame.step is None else None
    past = [frame for frame in module_frames(session.cursor.root)
            if frame.first <= session.cursor.index and frame is not here and here not in frame.around]
    return to_frame(session, past[-1] if past else None, "no module begins before this step")


def to_frame(session, frame, otherwise):
    """Stand at a frame, if there is one."""
    if frame is None:
        return otherwise
    session.cursor.at = frame
    return screen(session)


# ── breakpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
