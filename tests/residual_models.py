"""Every model with a residual stream: a small one in float64, its loss, and its branches."""

from dataclasses import dataclass
from typing import Any

import npformer as npf
from npformer import nn
from npformer.models import GPT, DeepTransformer, TinyTransformer, VisionTransformer, make_model
from npformer.models.seq2seq import SublayerConnection, padding_mask, target_mask
from npformer.nn import functional as F


@dataclass
class Case:
    """loss: a function without arguments. first: the module whose input is the start of the stream,
    or source: whose output is. branches: modules whose outputs are what the skip is added to, in
    their order."""

    model: Any
    loss: Any
    branches: list
    first: Any = None
    source: Any = None

    def started(self):
        """(the loss, the start of the stream)"""
        seen = []
        if self.first is not None:
            hook = self.first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        else:
            hook = self.source.register_forward_hook(lambda module, args, y: seen.append(y))
        with hook:
            return self.loss(), seen[-1]


def cross_entropy_of(model, *inputs, classes=11):
    """Cross entropy of the model's logits (..., classes) with labels drawn once."""
    shape = model(*inputs).shape[:-1]
    labels = npf.randint(0, classes, (int(npf.tensor(shape).prod()),))
    return lambda: F.cross_entropy(model(*inputs).reshape(-1, classes), labels)


def character_model(make, ends):
    """A character model and the names of the modules that end each branch in a block."""
    def build():
        model = make().double()
        ids = npf.randint(0, 11, (2, 5))
        branches = [block.get_submodule(end) for block in model.blocks
                    for end in ends if hasattr(block, end)]
        return Case(model, cross_entropy_of(model, ids), branches, first=model.blocks[0])
    return build


def deep(arrangement):
    return character_model(
        lambda: DeepTransformer(11, 5, 8, 2, 12, depth=3, arrangement=arrangement),
        ("out_proj", "ff2"))


def tiny(**options):
    return character_model(lambda: TinyTransformer(11, 5, 8, 2, 12, **options), ("out_proj", "ff2"))


def gpt():
    model = GPT(11, 6, n_layer=3, n_head=2, d_model=8, dropout=0.2).double()
    ids = npf.randint(0, 11, (2, 5))
    return Case(model.eval(), cross_entropy_of(model, ids),
                [m for b in model.h for m in (b.attn, b.mlp)], first=model.h[0])


def vit():
    model = VisionTransformer(8, 4, 2, 11, 8, depth=2, num_heads=2).double()
    images = npf.randn(3, 2, 8, 8, dtype=npf.float64)
    return Case(model, cross_entropy_of(model, images),
                [m for b in model.blocks for m in (b.attn, b.mlp)], first=model.blocks[0])


def seq2seq(start):
    def build():
        model = make_model(9, 11, N=2, d_model=8, d_ff=12, h=2, dropout=0.0).double()
        src = npf.tensor([[1, 5, 3, 0], [2, 8, 4, 6]])
        tgt = npf.tensor([[1, 2, 9, 3, 0], [1, 7, 4, 10, 5]])
        labels = npf.randint(0, 11, (10,))
        branches = [m.dropout for m in model.modules() if isinstance(m, SublayerConnection)]

        def loss():
            found = model.generator(model(src, tgt, padding_mask(src), target_mask(tgt)))
            return F.nll_loss(found.reshape(-1, 11), labels)
        return Case(model, loss, branches, source=getattr(model, start))
    return build


def layers_of_pytorch(norm_first):
    def build():
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first)
        encoder = nn.TransformerEncoder(layer, 2)
        model = nn.Sequential(nn.Linear(3, 8), encoder, nn.Linear(8, 11)).double()
        x = npf.randn(2, 5, 3, dtype=npf.float64)
        return Case(model, cross_entropy_of(model, x),
                    [m for b in encoder.layers for m in (b.dropout1, b.dropout2)],
                    source=model[0])
    return build


CASES = {
    "tiny": tiny(depth=3), "tiny, line deleted": tiny(depth=2, residual="deleted"),
    "tiny, no residual": tiny(residual=False), "gpt": gpt, "vit": vit,
    "encoder": seq2seq("src_embed"), "decoder": seq2seq("tgt_embed"),
    **{f"deep, {arrangement}": deep(arrangement)
       for arrangement in ("post", "pre", "admin", "deepnorm", "none")},
    "pre-LN layers of nn": layers_of_pytorch(True),
    "post-LN layers of nn": layers_of_pytorch(False),
}
COUNTS = {"tiny": 6, "tiny, line deleted": 2, "tiny, no residual": 0, "gpt": 6, "vit": 4,
          "encoder": 10, "decoder": 10,
          **{f"deep, {arrangement}": 6 for arrangement in ("post", "pre", "admin", "deepnorm")},
          "deep, none": 0, "pre-LN layers of nn": 4, "post-LN layers of nn": 4}
