"""Small models with a random batch in float64, to step through with no script of one's own."""

from __future__ import annotations

from collections.abc import Callable

from .. import creation
from ..core import dtypes, random_numbers
from ..core.errors import ValueRangeError
from ..models import GPT, TinyTransformer, VisionTransformer, make_model
from ..nn import functional as F
from ..nn.module import Module
from ..tensors import Tensor

VOCABULARY = 65


def tiny():
    """The next character, by a TinyTransformer of one block."""
    model = TinyTransformer(VOCABULARY)
    x, y = creation.randint(0, VOCABULARY, (2, 4, 16))
    return model, lambda: F.cross_entropy(model(x).view(-1, VOCABULARY), y.view(-1))


def gpt():
    """The next token, by a GPT of two blocks."""
    model = GPT(VOCABULARY, context=16, n_layer=2, n_head=2, d_model=32)
    x, y = creation.randint(0, VOCABULARY, (2, 3, 12))
    return model, lambda: F.cross_entropy(model(x).view(-1, VOCABULARY), y.view(-1))


def seq2seq():
    """A sequence into another, by an encoder-decoder of two layers each; one source is padded."""
    model = make_model(11, 13, N=2, d_model=16, d_ff=32, h=2, dropout=0.0)
    src, tgt = creation.randint(1, 11, (3, 6)), creation.randint(1, 13, (3, 5))
    hidden = creation.ones(3, 1, 6) > 0
    hidden[1, :, 4:] = False
    causal = (creation.ones(4, 4).tril() > 0).unsqueeze(0)

    def loss():
        y = model.generator(model(src, tgt[:, :-1], hidden, causal))         # (B, T, V)
        return F.nll_loss(y.reshape(-1, 13), tgt[:, 1:].reshape(-1))
    return model, loss


def vit():
    """The kind of an image, by a VisionTransformer of two blocks."""
    model = VisionTransformer(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=16,
                              depth=2, num_heads=2)
    images, kinds = creation.randn(3, 1, 8, 8), creation.randint(0, 10, (3,))
    return model, lambda: F.cross_entropy(model(images.to(dtypes.float64)), kinds)


EXAMPLES = {function.__name__: function for function in (tiny, gpt, seq2seq, vit)}


def example(name: str = "tiny", seed: int = 0) -> tuple[Module, Callable[[], Tensor]]:
    """(model, a function of no arguments that computes its loss) by name, in float64.

    name: tiny, gpt, seq2seq or vit. The global random generator is left as it was.
    """
    if name not in EXAMPLES:
        raise ValueRangeError(
            f"there is no model {name!r}; the built-in ones are {', '.join(EXAMPLES)}")
    before = random_numbers.default_generator.get_state()
    random_numbers.manual_seed(seed)
    try:
        model, loss = EXAMPLES[name]()
    finally:
        random_numbers.default_generator.set_state(before)
    return model.double(), loss
