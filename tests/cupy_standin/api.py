"""What CuPy offers, as tests/cupy_api.txt says: its names, the arguments they take, and which
ufuncs have `at`."""

import inspect
import pathlib
import re

P = inspect.Parameter


def signature(text):
    """The Signature that 'a, axis=, *, dtype=' stands for."""
    kind, parameters = P.POSITIONAL_OR_KEYWORD, []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name = part.strip("*=")
        if part == "/":
            parameters = [p.replace(kind=P.POSITIONAL_ONLY) for p in parameters]
        elif part == "*":
            kind = P.KEYWORD_ONLY
        elif part.startswith("**"):
            parameters.append(P(name, P.VAR_KEYWORD))
        elif part.startswith("*"):
            parameters.append(P(name, P.VAR_POSITIONAL))
            kind = P.KEYWORD_ONLY
        else:
            parameters.append(P(name, kind, default=None if part.endswith("=") else P.empty))
    return inspect.Signature(parameters)


class Entry:
    """One name of CuPy's: its Signature, or None if the list has none, and what else it says."""

    def __init__(self, arguments, words):
        self.signature = None if arguments is None else signature(arguments)
        self.is_ufunc, self.has_at = "ufunc" in words, "at" in words

    def check(self, name, args, kwargs):
        """Raise TypeError where CuPy takes no such arguments."""
        if self.signature is not None:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"cupy's {name}{self.signature}: {error}") from None


def read():
    """The list, as a dict of Entries by full name ('cupy.ndarray.sum')."""
    lines = (pathlib.Path(__file__).parent.parent / "cupy_api.txt").read_text().splitlines()
    found = {}
    for line in lines[1:]:
        name, arguments, words = re.fullmatch(r"([\w.]+)(?:\((.*)\))?((?: \w+)*)", line).groups()
        found[name] = Entry(arguments, words.split())
    return found


API = read()
