"""`npformer golden`: a reference model's whole pass in one file, to compare other engines with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..files import write_whole
from ..tensorfile import pieces
from .helpers.user_file import checked_seed, explain_errors

if TYPE_CHECKING:
    from .helpers.training_options import Commands


def declare(commands: Commands) -> None:
    golden = commands.add_parser(
        "golden", help="a reference for other engines, in one file",
        description="Write inputs, weights, activations, loss and all gradients of a model, by "
                    "name, as safetensors.")
    golden.add_argument("model", metavar="MODEL", help="tiny, or FILE.py::factory; "
                                                       "factory(rng) -> (model, inputs, loss)")
    golden.add_argument("--out", required=True, metavar="REF.safetensors", help="where to write")
    golden.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of weights and inputs (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Write the reference that the command line asks for."""
    from ..verify.golden.write import golden
    from .helpers.golden_models import make_model

    seed = checked_seed(arguments)
    model, inputs, loss = make_model(arguments.model, seed)
    if not arguments.out.endswith(".safetensors"):
        raise InputError(f"--out {arguments.out}: the name must end in .safetensors.")
    with explain_errors(arguments.model.partition("::")[0], "its pass fails"):
        found, metadata = golden(model, inputs, loss, seed)
    write_whole(arguments.out, *pieces(found, metadata))
    counts = [f"{sum(name.startswith(f'{kind}.') for name in found)} {kind}s"
              for kind in ("input", "weight", "activation", "gradient")]
    print(f"{arguments.out}: {', '.join(counts)}, loss {float(found['loss']):.6f} nats\n"
          f"Compare with: npformer compare MINE.safetensors {arguments.out}")
    return 0
