"""A public function's name stands in its topic file; the tests here hold the rest to it."""

import ast
import pathlib

import pytest

import npformer as npf
from npformer import functions

FILES = sorted(pathlib.Path(functions.__file__).parent.glob("[!_]*.py"))
TOPICS = [getattr(functions, path.stem) for path in FILES]
every_topic = pytest.mark.parametrize("topic", TOPICS, ids=[path.stem for path in FILES])

# Functions whose Tensor method is another function, with the reason.
OTHER_METHOD = {"where": "the method takes the condition second: x.where(condition, other)"}
# Functions that PyTorch has as methods and npformer has not, with the reason. Today there is none.
NO_METHOD: dict[str, str] = {}


@every_topic
def test_a_public_function_stands_in_all_of_its_topic(topic):
    """Only a public function returns what a user holds, and says so in its annotations."""
    tree = ast.parse(pathlib.Path(topic.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            returned = ast.unparse(node.returns)
            if returned in ("Tensor", "Chosen", "Any", "bool", "tuple[Tensor, ...]"):
                assert node.name in topic.__all__, (
                    f"{topic.__name__}: {node.name} is annotated as a public function; "
                    "write its name into __all__")


def test_every_public_name_is_npformers_once():
    names = [name for topic in TOPICS for name in topic.__all__]
    assert sorted(names) == sorted(set(names)), "a name stands in two topics"
    assert sorted(functions.__all__) == sorted(names), "functions/__init__ leaves a topic out"
    for topic in TOPICS:
        for name in topic.__all__:
            assert getattr(npf, name) is getattr(functions, name) is getattr(topic, name), name


def test_what_pytorch_has_as_a_method_is_one_here():
    torch = pytest.importorskip("torch", reason="PyTorch says which functions are methods too")
    assert not set(NO_METHOD) - set(functions.__all__), "an exception for a function that is gone"
    for name in functions.__all__:
        if name in NO_METHOD:
            assert NO_METHOD[name] and not hasattr(npf.Tensor, name), f"{name} is a method now"
        elif hasattr(torch.Tensor, name):
            assert hasattr(npf.Tensor, name), (
                f"x.{name}() is missing: write `{name} = f.{name}` into npformer/methods.py, "
                "or the reason into NO_METHOD here")


def test_a_method_is_the_function_of_its_name():
    both = set(functions.__all__) & set(vars(npf.Tensor) | vars(npf.Tensor.__base__))
    assert len(both) > 100
    for name in both:
        method, function = getattr(npf.Tensor, name), getattr(functions, name)
        assert (method is function) == (name not in OTHER_METHOD), f"Tensor.{name} is {method}"


def test_a_method_with_an_underscore_is_that_function_in_place():
    """`exp_` is made of `exp`: after a slip in the list it would write another function's
    result."""
    in_place = {name: method for name, method in vars(npf.Tensor.__base__).items()
                if name.endswith("_") and not name.startswith("__")}
    assert len(in_place) > 20
    for name, method in in_place.items():
        known = getattr(functions, name[:-1], None)
        wanted = {name, known.__name__ + "_"} if known else {name}     # clip_ is clamp_
        assert method.__name__ in wanted, f"Tensor.{name} is {method.__name__}"
