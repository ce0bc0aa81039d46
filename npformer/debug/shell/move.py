"""Commands that move: step by step, out of and into modules and definitions, to a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.source import short
from .names import node_named
from .screens import module_frames, screen
from .session import command

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


