"""What a user's type checker knows of npformer: mypy over a small program, as text."""

import importlib.util
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import sysconfig
import types

import pytest

import npformer
import npformer.nn.functional as F
from npformer import cli, nn, optim, verify

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mypy") is None,
                                reason="mypy is not installed")

# Each line that ends in `# type` is what mypy must reveal of the expression on it.
PROGRAM = '''
import npformer as npf
import npformer.nn.functional as F
from npformer import nn, optim
from npformer.typing import Dim


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(2, width)
        self.rest = nn.Sequential(nn.ReLU(), nn.LayerNorm(width), nn.Linear(width, 3))

    def forward(self, x: npf.Tensor) -> npf.Tensor:
        return self.rest(self.first(x))


def spread(x: npf.Tensor, dim: Dim = -1) -> npf.Tensor:
    return (x - x.mean(dim, keepdim=True)).abs().amax(dim)


x = npf.randn(4, 2, dtype=npf.float64, requires_grad=True)
model = Net(5).double()
optimizer = optim.AdamW(model.parameters(), lr=0.1, betas=(0.9, 0.99))
schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (t + 1))
loss = F.cross_entropy(model(x), npf.tensor([0, 2, 1, 1]), label_smoothing=0.1)
optimizer.zero_grad()
for step in npf.backprop(loss, retain_graph=True):
    reveal_type(step.op)  # str
    reveal_type(step.source)  # tuple[str, int] | None
nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
optimizer.step()
schedule.step()
model.load_state_dict(model.state_dict())
reveal_type(npf.gradcheck(lambda t: t.exp() * 2, x))  # Report
with npf.no_grad():
    x -= 0.1

reveal_type(model)  # Net
reveal_type(model(x))  # Tensor
reveal_type(x)  # Tensor
reveal_type(x.exp().sum())  # Tensor
reveal_type(F.softmax(x, -1))  # Tensor
reveal_type(nn.Linear(2, 3)(x))  # Tensor
reveal_type(npf.autograd.grad(loss, x))  # tuple[Tensor, ...]
reveal_type((x + 1) * x - 2 / x)  # Tensor
reveal_type(1 - x @ x.T)  # Tensor
reveal_type(x == 1)  # Tensor
reveal_type(x[0, 1:])  # Tensor
reveal_type(x.reshape(2, -1).view((4, 2)).transpose(0, 1))  # Tensor
reveal_type(x.to("cpu").float().add_(1))  # Tensor
reveal_type(x.topk(1).indices)  # Tensor
reveal_type(x.split(2))  # tuple[Tensor, ...]
reveal_type(x.shape)  # Size
reveal_type(x.dim())  # int
reveal_type(x.grad)  # Tensor | None
reveal_type(spread(npf.zeros(2, 3)))  # Tensor
reveal_type(npf.cat([x, x], dim=1))  # Tensor
'''

WRONG = {
    'F.softmax("a")': 'Argument 1 to "softmax" has incompatible type "str"',
    'x.sum(dim="a")': 'Argument "dim" has incompatible type "str"',
    "x.exp(3)": "Too many arguments",
    "model(3)": 'Argument 1 to "__call__" of "Module" has incompatible type "int"',
    'nn.Linear("a", 3)': 'Argument 1 to "Linear" has incompatible type "str"',
    "optim.Adam(3)": 'Argument 1 to "Adam" has incompatible type "int"',
    "npf.zeros(2, 3, dtype=1)": 'Argument "dtype" to "zeros" has incompatible type "int"',
}


def mypy(program, folder, *more):
    """What mypy says of a program: (line number, text) for each remark. Only the program is judged,
    not the package."""
    (folder / "program.py").write_text(program)
    settings = ["--follow-imports=silent", "--config-file=", f"--cache-dir={folder / 'cache'}",
                "--no-error-summary", *more]
    home = str(pathlib.Path(npformer.__file__).parents[1])
    # mypy finds an installed package by itself, and refuses site-packages in MYPYPATH.
    path = {} if home == sysconfig.get_path("purelib") else {"MYPYPATH": home}
    done = subprocess.run([sys.executable, "-m", "mypy", *settings, "program.py"],
                          cwd=folder, text=True, capture_output=True, env={**os.environ, **path})
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    remarks = [re.fullmatch(r"program\.py:(\d+): (?:error|note): (.*)", line)
               for line in done.stdout.splitlines()]
    return [(int(m[1]), m[2]) for m in remarks if m]


def without_modules(text):
    """`npformer.tensors.Tensor` as `Tensor`."""
    return re.sub(r"\b(\w+\.)+(?=\w)", "", text)


@pytest.fixture(scope="module")
def remarks(tmp_path_factory):
    """What mypy says of the program, and of the wrong lines after it."""
    return mypy(PROGRAM + "\n".join(WRONG), tmp_path_factory.mktemp("typed"))


def test_types_are_those_that_a_user_expects(remarks):
    revealed = {line: without_modules(text)
                for line, text in remarks if line <= PROGRAM.count("\n")}
    wanted = {i: f'Revealed type is "{line.partition("  # ")[2]}"'
              for i, line in enumerate(PROGRAM.splitlines(), 1)
              if "reveal_type" in line}
    assert revealed == wanted                      # and so there is no error in these lines


def test_wrong_calls_are_errors(remarks):
    said = dict(remarks)
    for i, (call, text) in enumerate(WRONG.items(), PROGRAM.count("\n") + 1):
        assert text in said.get(i, "nothing"), f"{call}: mypy says {said.get(i, 'nothing')}"


def public(module):
    """The names that a module has for its users: all but its parts, and what it was written
    with."""
    tools = ("import_module", "TYPE_CHECKING")
    return [name for name, value in vars(module).items() if not name.startswith("_")
            and not isinstance(value, types.ModuleType) and name not in tools]


def test_every_public_name_is_exported_and_known(tmp_path):
    names = {"npf": {*public(npformer), *npformer.LATE} - {"newaxis"}, "nn": public(nn),
             "F": public(F), "optim": public(optim)}
    uses = [f"{module}.{name}" for module, found in names.items() for name in sorted(found)]
    imports = ("import npformer as npf\nimport npformer.nn.functional as F\n"
               "from npformer import nn, optim\n")
    said = mypy(imports + "".join(f"reveal_type({use})\n" for use in uses), tmp_path,
                "--no-implicit-reexport")
    assert len(said) >= len(uses)                  # one remark at least for each name
    unknown = [(uses[line - 4], text) for line, text in said if '"Any"' in text
               or "Revealed" not in text]
    assert not unknown, ("import it `as` itself; what is loaded late, under TYPE_CHECKING in "
                         "npformer/__init__.py")


def test_the_package_says_that_it_is_typed():
    assert pathlib.Path(npformer.__file__).with_name("py.typed").exists()


def unannotated(function):
    """The parameters of a function without an annotation, and "return" if it does not say that."""
    found = inspect.signature(function)
    names = [name for name, p in found.parameters.items()
             if p.annotation is p.empty and name not in ("self", "cls")]
    return names + (["return"] if found.return_annotation is found.empty else [])


def functions_of(name, value):
    """(name, function) of a function, or of each public method and property of a class."""
    if not inspect.isclass(value):
        yield name, inspect.unwrap(value)
        return
    for part, found in vars(value).items():
        function = getattr(found, "fget", None) or getattr(found, "__func__", found)
        if inspect.isfunction(function) and not part.startswith("_"):
            yield f"{name}.{part}", function


def judge_and_commands():
    """What users call of the judge; the entry of the command line, and of each command."""
    for module in (verify, verify.golden, verify.mutants, verify.strategies):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield from functions_of(f"{module.__name__}.{name}", value)
    yield "npformer.cli.main", cli.main
    for found in pkgutil.iter_modules(cli.__path__):
        module = importlib.import_module(f"{cli.__name__}.{found.name}")
        if hasattr(module, "run"):
            yield f"{module.__name__}.run", module.run


def test_the_judge_and_the_commands_are_annotated():
    """mypy looks into a function only if it has annotations, and so does a user's editor."""
    found = dict(judge_and_commands())
    assert len(found) > 30 and "npformer.cli.step.run" in found
    missing = {name: unannotated(function) for name, function in found.items()}
    assert {name: names for name, names in missing.items() if names} == {}
