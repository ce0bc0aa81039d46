"""The command `npformer` and its options. Bad input gets one clear message and exit code 2."""

import argparse
import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ..core import devices, threads
from ..core.errors import NpformerError
from ..train import Config

INTERRUPTED = 130                                  # what a shell reports for a command that Ctrl-C ended

# The options of a training run. What is not given stays away, so that Config's defaults hold.
TRAINING = {
    "--steps": dict(type=int, metavar="N", help="how many steps of Adam"),
    "--batch": dict(type=int, metavar="N", help="sequences in a step"),
    "--lr": dict(type=float, metavar="X", help="step size of Adam"),
    "--seed": dict(type=int, metavar="N", help="of the weights and of the batches"),
    "--context": dict(type=int, metavar="N", help="characters in a sequence"),
    "--dtype": dict(choices=("float32", "float64"), help="of the weights"),
}
DEPTH = {"--depth": dict(type=int, metavar="N", help="how many blocks")}
SAVE_EVERY = {"--save-every": dict(type=int, metavar="N", help="steps between checkpoints")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 if a check fails, 2 for what cannot be used, 130 after Ctrl-C."""
    argv, rest = divided(sys.argv[1:] if argv is None else list(argv))
    arguments = parser().parse_args(argv)
    arguments.rest = rest
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")   # a terminal that cannot show · or × gets a question mark
    try:
        if arguments.command != "info":            # which tells why a backend cannot work, and needs none
            devices.backend_from_environment()
        if "threads" in arguments:
            threads.set_num_threads(arguments.threads)
        code = importlib.import_module(f"{__name__}.{arguments.command}").run(arguments)
        sys.stdout.flush()
        return code or 0
    except NpformerError as error:
        return complain(error, code=getattr(error, "exit_code", 2))
    except MemoryError as error:
        return complain(f"there is not enough memory ({error}).\n  Try a smaller --batch, --context or --depth.")
    except KeyboardInterrupt:
        return complain("stopped.", INTERRUPTED)
    except BrokenPipeError:                        # `npformer demo | head`: nobody reads on, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def divided(argv):
    """(what is npformer's, what stands behind -- and goes to the script that `npformer step` runs)."""
    end = argv.index("--") if argv[:1] == ["step"] and "--" in argv else len(argv)
    return argv[:end], argv[end + 1:]


def complain(text, code=2):
    """Say on stderr what is wrong; returns the exit code."""
    sys.stderr.write(f"npformer: {text}\n")
    return code


def parser():
    """The options of every command."""
    top = argparse.ArgumentParser(prog="npformer", description="A Transformer on NumPy with a backward pass to read.")
    top.add_argument("--version", action="version", version=f"npformer {package_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = add(commands, "train", "train a TinyTransformer on a text; can be killed and resumed",
                {**TRAINING, **DEPTH, **SAVE_EVERY})
    forms = train.add_mutually_exclusive_group()
    forms.add_argument("--residual", type=form, metavar="FORM", default=argparse.SUPPRESS,
                       help="true: x = x + F(x); false: x = F(x); deleted: attention's output thrown away (true)")
    forms.add_argument("--no-residual", action="store_const", const=False, dest="residual", default=argparse.SUPPRESS,
                       help="the same as --residual false")
    add_machine(train)
    train.add_argument("--resume", action="store_true", help="go on with the run in DIR")

    residual = add(commands, "residual", "the three forms of the residual side by side",
                   {**TRAINING, "--steps": {**TRAINING["--steps"], "default": 1000}})
    residual.add_argument("--depth", type=int, nargs="+", default=[1, 4], metavar="N", help="numbers of blocks (1 4)")
    add_machine(residual)

    demo = commands.add_parser("demo", help="everything at once, in under a minute", description=(
        "Train with and without the residual, prove the gradients, look at the residual identity, step backwards."))
    demo.add_argument("--steps", type=int, metavar="N", default=400, help="steps of each training run (%(default)s)")
    demo.add_argument("--seed", type=int, metavar="N", default=0, help="of weights and batches (%(default)s)")
    add_machine(demo)

    add_step(commands)
    add_checks(commands)
    commands.add_parser("info", help="versions, BLAS, threads, GPU or why not", description="What npformer runs on.")
    return top


def add(commands, name, help, options):
    """A command that takes a text FILE and `options`, whose names and defaults are Config's."""
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.add_argument("text", nargs="?", metavar="FILE", default=argparse.SUPPRESS,
                         help="a UTF-8 text (the topics of Python's own help)")
    for option, how in options.items():
        default = how.get("default", getattr(Config, option.strip("-").replace("-", "_")))
        how = {"default": argparse.SUPPRESS, **how, "help": f"{how['help']} ({default})"}
        command.add_argument(option, **how)
    return command


def add_step(commands):
    """The debugger."""
    step = commands.add_parser("step", help="step through a backward pass, forwards and backwards in time", description=(
        "Record a backward pass and step through it. Exit code 0; with --do 1: a check or a mismatch found a wrong gradient; "
        "2: something cannot be used. What stands behind -- goes to the script."))
    what = step.add_mutually_exclusive_group()
    what.add_argument("script", nargs="?", metavar="SCRIPT.py", help="is run up to the end of its backward pass")
    what.add_argument("--model", default="tiny", metavar="NAME", help="a built-in one: tiny, seq2seq, gpt, vit (%(default)s)")
    what.add_argument("--load", metavar="TRACE", help="a trace that was saved")
    step.add_argument("--backward", type=int, default=1, metavar="N", help="which backward pass of the script (%(default)s)")
    step.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (%(default)s)")
    how = step.add_mutually_exclusive_group()
    how.add_argument("--app", action="store_true", help="on the whole terminal: keys, mouse, arrays as heat maps")
    how.add_argument("--do", metavar="COMMANDS", help="run these and exit: --do 'b nan; c; where'; `help` is one of them")
    step.add_argument("--html", metavar="PAGE.html", help="write a page to step through in a browser, and exit")
    step.add_argument("--save", metavar="TRACE", help="write the trace, and exit")


def add_checks(commands):
    """The commands of the judge."""
    check = commands.add_parser("check", help="are the gradients in a Python file right?", description=(
        "Judge the x_forward/x_backward pairs, the autograd.Functions and the marked functions of a file. "
        "Exit code 0: all right; 1: something is wrong; 2: something could not be run."))
    what = check.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE.py[::NAME]", help="the file, or one thing in it")
    what.add_argument("--mutants", action="store_true", help="try the judge itself, by planted mistakes")
    check.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    check.add_argument("--junit", metavar="FILE", help="write JUnit XML there, for a CI server")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="of inputs and upstreams (%(default)s)")
    check.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for the file (%(default)g)")

    golden = commands.add_parser("golden", help="a reference for other engines, in one file", description=(
        "Write inputs, weights, activations, loss and all gradients of a model, by name, as safetensors."))
    golden.add_argument("model", metavar="MODEL", help="tiny, or FILE.py::factory; factory(rng) -> (model, inputs, loss)")
    golden.add_argument("--out", required=True, metavar="REF.safetensors", help="where to write")
    golden.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and inputs (%(default)s)")

    compare = commands.add_parser("compare", help="which tensor of another engine is wrong first?", description=(
        "Hold an engine's tensors against a reference. Exit code 0: they agree; 1: one is wrong; 2: cannot be used."))
    compare.add_argument("mine", metavar="MINE", help="your tensors by the reference's names, .safetensors or .npz")
    compare.add_argument("reference", metavar="REF.safetensors", help="what `npformer golden` wrote")
    compare.add_argument("--tolerance", type=float, metavar="X", help=(
        "what a tensor may be off by, relative to its largest entry (float64 1e-9, float32 2e-5, and measured rounding)"))
    compare.add_argument("--json", action="store_true", help="one line of JSON on stdout")


def config_options(arguments):
    """The options of Config that were given, by name; a text by its whole path: a run may be resumed from anywhere."""
    names = {field.name for field in dataclasses.fields(Config)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return {**given, "text": os.path.abspath(given["text"])} if "text" in given else given


def add_machine(command):
    """Where a command writes (runs/<its name>, unless told otherwise), and how many cores it may use.

    One thread unless told otherwise: matrices of this size gain little from a second core, and where another program
    wants that core, BLAS's threads wait for each other and a step takes ten times as long.
    """
    default = os.path.join("runs", command.prog.split()[-1])
    command.add_argument("--out", default=default, metavar="DIR", help="where to write (%(default)s)")
    command.add_argument("--threads", type=int, default=1, metavar="N", help="threads of BLAS (%(default)s)")


def form(text):
    """A form of the residual, as the command line spells it."""
    forms = {"true": True, "false": False, "deleted": "deleted"}
    if text not in forms:
        raise argparse.ArgumentTypeError(f"it must be true, false or deleted, not {text!r}")
    return forms[text]


def package_version():
    """The version of npformer that is installed."""
    try:
        return version("npformer")
    except PackageNotFoundError:
        return "(not installed)"
