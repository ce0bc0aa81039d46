"""The shell: a backward pass stepped through with a debugger's commands.

    session = Session(npf.debug.trace(loss))
    session.do("b nan")
    text = session.do("c")

`npformer step` reads lines and prints what `Session.do` returns. Read `session` first; the files
of commands are `move`, `breakpoints`, `look`, `ask`, `change` and `help_and_files`.
"""

# Importing a file of commands enters its commands in COMMANDS.
from . import ask, breakpoints, change, help_and_files, look, move  # noqa: F401
from .screens import screen as screen
from .session import COMMANDS as COMMANDS
from .session import Session as Session
