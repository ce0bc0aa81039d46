"""Commands that move: step by step, into and out of modules and definitions, to a place."""

from __future__ import annotations

from collections.abc import Callable

from ...core.errors import InputError
from ...core.source import short_path
from .names import node_named, read_count
from .screens import module_frames, screen
from .session import Session, command


def move_times(session: Session, move: Callable[[], bool], rest: str, end: str) -> str:
    """Move as often as `rest` says, once if it is empty. The screen of the place that is reached;
    `end` where the first move already led nowhere."""
    before = session.frame
    for _ in range(read_count(rest, 1, least=1)):
        if not move():
            break
    return end if session.frame is before else screen(session)


@command("next [COUNT]", "n", group="move")
def next_(session: Session, rest: str) -> str:
    """Over to the next step back, or over a whole module; out of it where it ends."""
    return move_times(session, session.cursor.over, rest,
                      "this is the last step: the walk ends here. `back` goes back.")


@command("step", "s", group="move")
def step_into(session: Session, rest: str) -> str:
    """Into a module, or into the definition of a fused operation; elsewhere as `next`."""
    if not session.cursor.into():
        return next_(session, "")
    frame = session.frame
    if not frame.inside_a_step or frame.parent is None or not frame.parent.opens:
        return screen(session)
    fused = session.trace[session.cursor.index]
    return (f"the definition of {fused.op}, on the values that were recorded: its gradients and "
            f"the rule's differ by {frame.trace.agreement:.1e} of the largest entry\n"
            f"{screen(session)}")


@command("out", "up", group="move")
def out(session: Session, rest: str) -> str:
    """Out to the module around, or out of a definition."""
    return move_times(session, session.cursor.out, rest,
                      "this is the whole model: there is nothing around it")


@command("back [COUNT]", "prev", group="move")
def back(session: Session, rest: str) -> str:
    """To the step before, on this level: stepping back costs nothing."""
    return move_times(session, session.cursor.back, rest,
                      "this is the first step: the walk begins here")


@command("goto N", "g", group="move")
def goto(session: Session, rest: str) -> str:
    """To step N; negative numbers count from the end. `goto NAME` goes to the step of that name."""
    try:
        session.cursor.goto(int(rest))
    except ValueError as error:                    # of int(), or a number that is out of range
        if not rest:
            raise InputError("goto which step? A number, or a name") from None
        if rest.lstrip("-").isdigit():
            raise InputError(str(error)) from None
        node = node_named(session, rest)
        if node.number not in session.trace.step_at or session.frame.inside_a_step:
            raise InputError(f"{node.name} is not a step: it is a leaf, which only receives. "
                             f"`who {rest}` goes to who sent it its gradient.") from None
        session.cursor.goto(session.trace.step_at[node.number])
    return screen(session)


@command("/TEXT", group="move")
def search(session: Session, rest: str) -> str:
    """To the next step with TEXT in its name, operation, module or line. `/` alone: once more."""
    return search_from_here(session, rest, 1)


@command("?TEXT", group="move")
def search_back(session: Session, rest: str) -> str:
    """The same, backwards."""
    return search_from_here(session, rest, -1)


def search_from_here(session, rest, by):
    session.search_text = text = rest or session.search_text
    if not text:
        raise InputError("search for what? /softmax, /blocks.1, /model.py:46")

    def has_text(step):
        line = f"{short_path(step.source[0])}:{step.source[1]}" if step.source else ""
        return text.lower() in f"{step.name} {step.op} {step.where} {line}".lower()

    if session.cursor.run(has_text, by):
        return screen(session)
    return f"no step {'after' if by > 0 else 'before'} this one holds {text!r}"


@command("layer+", group="move")
def layer_on(session: Session, rest: str) -> str:
    """To the next module that the walk enters."""
    ahead = [f for f in module_frames(session.cursor.root) if f.first > session.cursor.index]
    return go_to_frame(session, ahead[0] if ahead else None, "no module begins after this step")


@command("layer-", group="move")
def layer_back(session: Session, rest: str) -> str:
    """To the module that the walk entered before."""
    # Standing on a module, neither it nor a module inside it (which begins at the same step) is
    # "before"; standing on a step, the module around it is.
    at = session.frame
    here = None if at.inside_a_step or at.step is not None else at
    past = [f for f in module_frames(session.cursor.root) if f.first <= session.cursor.index
            and f is not here and here not in f.around]
    return go_to_frame(session, past[-1] if past else None, "no module begins before this step")


def go_to_frame(session, frame, otherwise):
    if frame is None:
        return otherwise
    session.cursor.at = frame
    return screen(session)
