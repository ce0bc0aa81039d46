"""Write docs/operations.md, the page of all operations, from the registry."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace

import numpy as np

from npformer import ops
from npformer.core.operation import REGISTRY, Fused
from npformer.core.samples import draw

HEAD = """# Every operation and its gradient

Written by `python docs/operations.py` from the docstrings in `npformer/ops/`; a test holds the two
together, and another holds each docstring to the rules that its operation has. `g` is the gradient
that arrives, `y` the output.

Primitives have a rule of their own that works on arrays and on Tensors alike. Fused operations are
their definition in primitives, with a fast forward and a hand-derived backward. Everything else in
npformer is made of these.

`dims` says in letters, as einsum writes them, which dims of the arguments line up with which of the
output; `...` are leading dims, lined up as in broadcasting, and `...` alone is an operation of each
entry by itself. A letter that the output does not have is reduced, or mixed; in [brackets], an
index decides (`npformer/core/dims.py` has the whole notation).
"""


def table():
    """The page as text."""
    lines = [HEAD]
    for topic in iter_modules(ops.__path__):
        module = import_module(f"{ops.__name__}.{topic.name}").__name__
        operations = [op for op in REGISTRY.values() if op.__module__ == module]
        lines += [f"## {topic.name}", ""] if operations else []
        for op in operations:
            kind = "fused" if isinstance(op, Fused) else "primitive"
            arguments = f"*{op.variadic}" if op.variadic else ", ".join(op.names)
            options = "".join(f", {name}" for name in op.options)
            lines += [f"**{op.name}**({arguments}{options}), {kind}", "", "```text",
                      *clean(op.__doc__), "", f"dims: {dims(op)}", "```", ""]
    return "\n".join(lines)


def dims(op):
    """The dims in letters; where they depend on shapes or options, those of the first sample."""
    if isinstance(op.dims, str):
        return op.dims
    if not op.examples:
        raise SystemExit(f"{op.name}: write {op.name}.samples(...) into its block")
    args, options = draw(op.examples[0], np.random.default_rng(0))
    node = SimpleNamespace(shapes=[getattr(a, "shape", ()) for a in args], options=options)
    given = ", ".join([str(shape) for shape in node.shapes]
                      + [f"{name}={value}" for name, value in options.items()])
    return f"{op.dims_of(node)}    for {given}"


def clean(docstring):
    """The docstring's lines without their common indent."""
    first, *rest = docstring.strip().splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return [first, *(line[indent:].rstrip() for line in rest)]


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(table(), encoding="utf-8")
