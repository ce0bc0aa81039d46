"""Write CuPy's public API to standard output: the text of tests/cupy_api.txt. Needs CuPy installed,
and no GPU.

A line is a name; a function has its arguments behind it (`=` where there is a default), a ufunc the
word `ufunc`, and `at` where it can add at repeated indices.
"""

import inspect
import re
import sys

import cupy

COMMAND = "python tests/cupy_standin/list_api.py > tests/cupy_api.txt"
SPACES = {"cupy": cupy, "cupy.linalg": cupy.linalg, "cupy.random": cupy.random,
          "cupy.ndarray": cupy.ndarray}


def arguments(thing):
    """'(a, axis=, *, dtype=)' for a function; '' for what is no function, or does not say."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return from_docstring(thing)
    parts, last = [], None
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            parts.append("*")
        if last is p.POSITIONAL_ONLY and p.kind is not last:
            parts.append("/")
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(stars + p.name + ("=" if p.default is not p.empty else ""))
        last = p.kind
    return f"({', '.join(p for p in parts if p != 'self')})"


def from_docstring(thing):
    """The same for what Cython compiled: the signature is the first line of the docstring."""
    first = (thing.__doc__ or "").split("\n")[0]
    found = re.match(r"[\w.]+\((.*)\)( -> .*)?$", first)
    if not callable(thing) or not found or "[" in found[1]:
        return ""
    parts = [re.sub(r"=.*", "=", p.strip()).split(" ")[-1].lstrip("\\")
             for p in found[1].split(",")]
    return f"({', '.join(p for p in parts if p and p != 'self')})"


def main():
    print(f"# CuPy {cupy.__version__}'s public names, with their arguments. "
          f"To write it anew: {COMMAND}")
    for space, module in SPACES.items():
        for name in sorted(dir(module)):
            if name.startswith("_") and not (module is cupy.ndarray and name.startswith("__")):
                continue
            thing = getattr(module, name)
            if inspect.ismodule(thing):
                continue
            words = [f"{space}.{name}{'' if isinstance(thing, type) else arguments(thing)}"]
            if isinstance(thing, cupy.ufunc):
                words.append("ufunc at" if thing._scatter_op else "ufunc")
            print(*words)


if __name__ == "__main__":
    sys.exit(main())
