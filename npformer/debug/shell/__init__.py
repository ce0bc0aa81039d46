"""The shell: a backward pass stepped through with a debugger's commands. `npformer step` reads lines and prints.

    session = Session(npf.debug.trace(loss))
    session.do("b nan")
    text = session.do("c")
"""

from . import ask, breakpoints, change, look, move  # noqa: F401   each enters its commands
from .screens import screen as screen
from .session import COMMANDS as COMMANDS
from .session import Session as Session
