"""Write docs/api.md, the page of all public names, from the package. Run: python docs/api.py

Signatures are taken from the source, as they are written there: what `inspect` prints of an
annotation differs from one version of Python to the next, and the page must not.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

MODULES = ("npformer", "npformer.autograd", "npformer.nn", "npformer.nn.functional",
           "npformer.nn.init", "npformer.nn.utils", "npformer.nn.utils.rnn", "npformer.optim",
           "npformer.optim.lr_scheduler", "npformer.utils.data", "npformer.models",
           "npformer.debug", "npformer.verify", "npformer.verify.golden",
           "npformer.verify.mutants", "npformer.verify.strategies")
WIDTH = 100
NO_BREAK = "\xa0"                                # a space at which no line is broken

HEAD = """# Every public name

Written by `python docs/api.py` from the package; a test holds the two together. A name stands with
its signature and the first sentence of its docstring: `help(npf.softmax)` prints the rest, with
shapes, options and errors. Names, arguments and defaults are PyTorch's where PyTorch has them
([pytorch.md](pytorch.md) says what differs); the gradient of each operation stands in
[operations.md](operations.md).
"""


def page() -> str:
    """The page as text."""
    lines = [HEAD]
    for name in MODULES:
        module = import_module(name)
        lines += [f"## {name}", "", first_sentence(module), ""]
        topics = by_topic(module)
        for topic in sorted(topics):
            if len(topics) > 1:
                lines += [f"### {topic.rpartition('.')[2]}", ""]
                lines += [first_sentence(import_module(topic)), ""] if topic != name else []
            lines += ["```text", *entries_of(topics[topic]), "```", ""]
        lines += constants_of(module)
    return "\n".join(lines).rstrip() + "\n"


# ── which names there are ─────────────────────────────────────────────────────────────────────────


def public_names(module: ModuleType) -> dict[str, object]:
    """The functions and classes that a module has for its users, by name.

    `__all__` says them where there is one. Without it, a package's names are those that it imports
    from npformer, and a file's names are those that it defines.
    """
    names = getattr(module, "__all__", None)
    if names is None:
        home = "npformer" if hasattr(module, "__path__") else module.__name__
        names = [name for name, value in vars(module).items()
                 if not name.startswith("_") and isinstance(value, (FunctionType, type))
                 and f"{value.__module__}.".startswith(f"{home}.")]
        names += [name for name, place in getattr(module, "LATE", {}).items() if place]
    values = {name: getattr(module, name) for name in sorted(names)}
    return {name: value for name, value in values.items()
            if isinstance(value, (FunctionType, type))}


def by_topic(module: ModuleType) -> dict[str, dict[str, object]]:
    """The public names of a module, by the name of the file that defines them."""
    topics: dict[str, dict[str, object]] = defaultdict(dict)
    for name, value in public_names(module).items():
        topics[value.__module__][name] = value
    return topics


def constants_of(module: ModuleType) -> list[str]:
    """A line with the names that are neither function, class of npformer, nor module."""
    taken = public_names(module)
    names = [name for name in sorted(getattr(module, "__all__", vars(module)))
             if name not in taken and not name.startswith("_")
             and not isinstance(getattr(module, name), ModuleType)
             and (hasattr(module, "__all__") or is_number_or_dtype(getattr(module, name)))]
    text = "Values: " + ", ".join(f"`{name}`" for name in names) + "."
    return [*wrap(text, "", ""), ""] if names else []


def is_number_or_dtype(value: object) -> bool:
    """Whether value is a number, None, a dtype, or NumPy's class of dtypes or of their limits."""
    return (value is None or isinstance(value, float) or getattr(value, "__module__", "") == "numpy"
            or type(value).__module__ == "numpy.dtypes")


# ── an entry ──────────────────────────────────────────────────────────────────────────────────────


def entries_of(names: dict[str, object]) -> list[str]:
    """Each thing with its signature and its first sentence, and the other names that it has."""
    same = defaultdict(list)
    for name, value in names.items():
        same[id(value)].append(name)
    lines: list[str] = []
    for aliases in same.values():
        value = names[aliases[0]]
        own = getattr(value, "__name__", "")
        name = own if own in aliases else aliases[0]
        lines += wrap(name + signature_of(value), "", "        ")
        lines += wrap(first_sentence(value), "    ", "    ")
        others = [alias for alias in aliases if alias != name]
        lines += wrap(f"Also: {', '.join(others)}", "    ", "    ") if others else []
        members = members_of(value) if isinstance(value, type) else []
        lines += wrap(f"Members: {', '.join(members)}", "    ", "    ") if members else []
    return lines


def wrap(text: str, first: str, rest: str) -> list[str]:
    """text in lines of WIDTH columns; no line for no text."""
    lines = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest,
                          break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


def signature_of(value) -> str:
    """`(input, dim: int = 0) -> Tensor`, as the source has it; fields for a class of data."""
    if isinstance(value, type):
        if dataclasses.is_dataclass(value):
            return f"({', '.join(f.name for f in dataclasses.fields(value) if f.init)})"
        if hasattr(value, "_fields"):
            return f"({', '.join(value._fields)})"
        if not isinstance(value.__init__, FunctionType) or issubclass(value, Exception):
            return ""
        return f"({', '.join(parameters_of(definition(value.__init__))[1:])})"
    function = definition(value)
    parameters = parameters_of(function)[1 if drawn_by_hypothesis(value) else 0:]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({', '.join(parameters)}){returns}"


def drawn_by_hypothesis(function) -> bool:
    """Whether @composite made it: it has no source of its own, and takes no `draw`."""
    return hasattr(function, "is_hypothesis_strategy_function")


def definition(function) -> ast.FunctionDef:
    """The syntax tree of a function's source."""
    if drawn_by_hypothesis(function):
        tree = ast.parse(inspect.getsource(import_module(function.__module__)))
        return next(n for n in tree.body if getattr(n, "name", "") == function.__name__)
    source = inspect.getsource(inspect.unwrap(function))
    return ast.parse(textwrap.dedent(source)).body[0]


def parameters_of(function: ast.FunctionDef) -> list[str]:
    """Each parameter as text in which no line breaks; `*` and `/` where they stand."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    texts = [parameter(x, d) for x, d in zip(positional, defaults)]
    if a.posonlyargs:
        texts.insert(len(a.posonlyargs), "/")
    if a.vararg:
        texts.append("*" + parameter(a.vararg))
    elif a.kwonlyargs:
        texts.append("*")
    texts += [parameter(x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    return texts + (["**" + parameter(a.kwarg)] if a.kwarg else [])


def parameter(x: ast.arg, default: ast.expr | None = None) -> str:
    """`dim: int = 0` or `dim=0`."""
    text = f"{x.arg}: {ast.unparse(x.annotation)}" if x.annotation else x.arg
    if default is not None:
        text += (" = " if x.annotation else "=") + ast.unparse(default)
    return text.replace(" ", NO_BREAK)


def first_sentence(value) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = (vars(value).get("__doc__") if isinstance(value, type) else value.__doc__) or ""
    text = " ".join(re.split(r"\n\s*\n", paragraph.strip())[0].split())
    return re.split(r"(?<=[.?])\s", text)[0]


def members_of(cls: type) -> list[str]:
    """The names of the public methods and properties that a class defines itself."""
    kinds = (FunctionType, property, classmethod, staticmethod)
    return sorted(name for name, value in vars(cls).items()
                  if isinstance(value, kinds) and not name.startswith("_") and name != "forward")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
