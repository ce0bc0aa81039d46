"""The house: imports go down only, files and functions stay small, `import npformer` too."""

import ast
import pathlib
import subprocess
import sys

import pytest

import npformer
import npformer.nn.functional  # every operation is in the registry from here on
from npformer.core import operation

HOME = pathlib.Path(npformer.__file__).parent
FILES = sorted(HOME.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOME)))

# From the ground up. A name is a module, or a package with all that is in it; the longest name that
# fits counts.
FLOORS = (
    "core.errors",
    "core.dtypes core.devices core.writes core.random_numbers core.threads "
    "core.source core.samples",
    "core.facts core.numeric core.dims", "core.tape", "core.anomaly core.operation", "core.inside",
    "core.step core", "ops.shape ops.erf", "ops.elementwise", "ops.composites", "ops",
    "ops.attention ops.loss", "functions files", "tracked inplace interop", "methods", "tensors",
    "creation autograd cuda typing", "backends settings", "tensorfile", "serialize", "",
    "nn.functional", "nn.module nn.hooks nn.state nn.parameter nn.scope", "nn optim", "extras",
    "models data train plot utils",
    "verify.findings", "verify.naming", "verify.looking", "verify",
    "debug.traces", "debug.views", "debug.probes", "debug.shell debug.app debug.page", "debug",
    "cli __main__",
)


def module_name(path):
    """'ops.shape' for npformer/ops/shape.py; '' for npformer/__init__.py."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def floor(name):
    """The number of the floor that a module is on."""
    places = {part: level for level, parts in enumerate(FLOORS) for part in (parts.split() or [""])}
    while name not in places:
        assert name.partition(".")[0] != name, f"{name} is on no floor: give it one in FLOORS"
        name = name.rpartition(".")[0]
    return places[name]


def for_type_checkers(tree):
    """The nodes under `if TYPE_CHECKING`: no import there ever runs, so none can bind a lower floor
    to a higher one."""
    blocks = (n for n in ast.walk(tree) if isinstance(n, ast.If)
              and ast.unparse(n.test) == "TYPE_CHECKING")
    return {id(n) for block in blocks for statement in block.body for n in ast.walk(statement)}


def imports(path):
    """(line, module, whether it runs when the file is loaded) for each import of a part of npformer
    that can run."""
    here = module_name(path).split(".") if module_name(path) else []
    package = here if path.name == "__init__.py" else here[:-1]
    tree = TREES[path]
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda))
              for n in ast.walk(f)}
    never = for_type_checkers(tree)
    for node in ast.walk(tree):
        names = []
        if id(node) in never:
            continue
        if isinstance(node, ast.Import):
            names = [a.name.removeprefix("npformer").strip(".")
                     for a in node.names if a.name.startswith("npformer")]
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and (node.level or module.startswith("npformer")):
            up = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join(up + [p for p in module.removeprefix("npformer").split(".") if p])
            for a in node.names:
                whole = f"{base}.{a.name}".strip(".")
                names.append(whole if whole in MODULES else base)
        for name in names:
            yield node.lineno, name, id(node) not in inside


# ── floors ────────────────────────────────────────────────────────────────────────────────────────


def test_imports_are_found():
    """The tests below could not fail if none were."""
    found = [(target, at_load) for _, target, at_load in imports(HOME / "tensors.py")]
    assert {("core.errors", True), ("methods", True)} <= set(found)
    assert sum(1 for path in FILES for _ in imports(path)) > 500


@every_file
def test_imports_go_down(path):
    name = module_name(path)
    for line, target, at_load in imports(path):
        # the only places that may load on use
        late = not at_load and (name == "" or name.startswith("cli"))
        words = f"{path}:{line}: imports {target}, which is on a higher floor"
        assert late or floor(target) <= floor(name), words


@every_file
def test_imports_inside_functions_are_for_what_is_heavy(path):
    """A command loads what it needs when it runs, and the app its library; nobody else may."""
    name = module_name(path)
    late = [(line, target) for line, target, at_load in imports(path) if not at_load]
    assert not late or name.startswith("cli.") or name in ("", "debug.app"), f"{path}: {late}"


def test_imports_run_in_no_circle():
    """Neither at load nor inside functions: an import in a function hides a circle, it does not
    open it."""
    graph = {module_name(p): {t for _, t, _ in imports(p)} - {module_name(p)} for p in FILES}
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name):], name])
        if name not in done:
            for target in graph.get(name, ()):
                # a package's __init__ gathers its parts: a part that imports its package would be
                # the circle
                visit(target, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@every_file
def test_nothing_below_knows_the_judge_or_the_viewers(path):
    if module_name(path).split(".")[0] in ("verify", "debug", "cli", "__main__"):
        return
    for line, target, at_load in imports(path):
        late = not at_load and module_name(path) == ""
        top = target.split(".")[0]
        assert late or top not in ("verify", "debug"), f"{path}:{line} imports {target}"


def test_every_folder_is_a_package():
    """Otherwise an install that is not editable leaves it out."""
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").exists(), f"{folder} needs an __init__.py"


# ── size and manners ──────────────────────────────────────────────────────────────────────────────


def docstring_lines(tree):
    """The numbers of the lines that docstrings stand on."""
    return {n for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
            for n in range(node.body[0].lineno, node.body[0].end_lineno + 1)}


@every_file
def test_files_are_short(path):
    """By its code: comments and docstrings are not held against a file, nor, in ops/, the tables of
    formulas (rules, samples and facts, which are statements at the top of the file)."""
    tables = [s for s in TREES[path].body if isinstance(s, ast.Expr) and "ops" in path.parts]
    formulas = {n for s in tables for n in range(s.lineno, s.end_lineno + 1)}
    left_out = docstring_lines(TREES[path]) | formulas
    code = [line for n, line in enumerate(path.read_text().splitlines(), 1)
            if n not in left_out and line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 350, f"{path}: {len(code)} lines of code; cut it"


def lines_of_code(function, text):
    """The lines of a function's body, without docstring, blank lines and lines of comment.

    A signature is PyTorch's, and has as many arguments as that.
    """
    doc = function.body[0] if ast.get_docstring(function) is not None else None
    skipped = range(doc.lineno, doc.end_lineno + 1) if doc else ()
    lines = [text[n - 1].strip() for n in range(function.body[0].lineno, function.end_lineno + 1)
             if n not in skipped]
    return sum(1 for line in lines if line and not line.startswith("#"))


@every_file
def test_functions_are_short(path):
    text = path.read_text().splitlines()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef):
            assert lines_of_code(node, text) <= 40, f"{path}:{node.lineno}: {node.name} is too long"


@every_file
def test_no_assert_print_exec_in_the_library(path):
    # printing is what a command is for
    prints = module_name(path).split(".")[0] in ("cli", "__main__")
    for node in ast.walk(TREES[path]):
        place = f"{path}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{place}: assert; raise an error that says more"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = node.func.id
            assert called not in ("exec", "eval", "compile"), f"{place}: {called}"
            assert prints or called != "print", f"{place}: print"


# ── what an import loads ──────────────────────────────────────────────────────────────────────────


def test_import_loads_numpy_and_the_standard_library_only():
    script = ("import sys, numpy; before = set(sys.modules); import npformer; "
              "print(*sorted(set(sys.modules) - before))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True,
                          text=True, check=True)
    loaded = done.stdout.split()
    # Cython's runtime comes with numpy.random
    tops = {n.partition(".")[0] for n in loaded if "cython" not in n}
    foreign = tops - set(sys.stdlib_module_names) - {"numpy", "npformer"}
    assert "npformer.tensors" in loaded and not foreign
    on_first_use = ("verify", "debug", "cli", "models", "train", "data", "plot")
    late = {n for n in loaded if n.startswith("npformer.") and n.split(".")[1] in on_first_use}
    assert not late, f"import npformer loads {late}, which should load on first use"


def test_no_module_has_the_name_of_a_public_function():
    for path in FILES:
        name = module_name(path)
        if name and "." not in name:
            hides = name in ("tensor", "backend", "grad", "optim_step", "random")
            assert not hides, f"{name} hides npf.{name}"
            found = getattr(npformer, name, None)
            words = f"npformer.{name} is both a module and {found!r}"
            assert found is None or type(found) is type(ast), words


# ── names of operations ───────────────────────────────────────────────────────────────────────────


def names_compared(tree):
    """(line, name) wherever an operation's name, written as a string, is compared with something's
    operation or name."""
    names = set(operation.REGISTRY)
    for node in ast.walk(tree):
        sides = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            patterns = (p for case in node.cases for p in ast.walk(case.pattern))
            sides = [node.subject, *(p.value for p in patterns if isinstance(p, ast.MatchValue))]
        parts = [n for side in sides for n in ast.walk(side)]
        strings = {n.value for n in parts if isinstance(n, ast.Constant)} & names
        asked = {n.attr for n in parts if isinstance(n, ast.Attribute)}
        asked |= {n.id for n in parts if isinstance(n, ast.Name)}
        if strings and asked & {"op", "name", "__name__", "formula"}:
            yield from ((node.lineno, name) for name in sorted(strings))


def tables_by_name(tree):
    """(line, names) of dicts and tuples of which two or more entries are names of operations:
    tables to be kept in step."""
    names = set(operation.REGISTRY)
    for node in ast.walk(tree):
        entries = []
        if isinstance(node, ast.Dict):
            entries = node.keys
        elif isinstance(node, (ast.Tuple, ast.Set)):
            entries = node.elts
        found = {n.value for n in entries if isinstance(n, ast.Constant)} & names
        if len(found) > 1:
            yield node.lineno, found


# What stays: where a name is what people type, or NumPy's and not an operation's.
NAMES_STAY = {
    "debug/views/expressions.py": "the functions that people type in a breakpoint's condition",
    "nn/init.py": "PyTorch's names of nonlinearities, which people type",
    "nn/transformer.py": "activation='relu' is an option's value, as in PyTorch",
    "optim/lr_scheduler.py": "anneal_strategy='cos' is an option's value, as in PyTorch",
    "verify/naming/traced_array.py": "NumPy's functions by NumPy's names",
}


@every_file
def test_nobody_outside_ops_compares_an_operations_name(path):
    """What is known of an operation stands in its block; who asks, reads the registry
    (core.operation, core.dims)."""
    place = str(path.relative_to(HOME))
    if place.startswith("ops/") or place in NAMES_STAY:
        return
    compared, tables = list(names_compared(TREES[path])), list(tables_by_name(TREES[path]))
    assert not compared, f"{place}: compares the name of an operation with a string: {compared}"
    assert not tables, f"{place}: has a table of operations by name: {tables}"


def test_a_compared_name_is_noticed():
    assert list(names_compared(ast.parse("if node.op.name == 'relu': pass"))) == [(1, "relu")]
    two = list(names_compared(ast.parse("if step.op in ('mul', 'div'): pass")))
    assert two == [(1, "div"), (1, "mul")]
    assert list(names_compared(ast.parse("match op:\n    case 'mul': pass"))) == [(1, "mul")]
    assert list(tables_by_name(ast.parse("T = {'mul': 1, 'div': 2}"))) == [(1, {"mul", "div"})]
