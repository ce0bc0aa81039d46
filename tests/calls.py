"""One call of each public function, on one set of tensors: for tests that hold for them all (a
second backend, say).

`t` has: x, p > 0, y of shape (3, 4); q (4, 5); v (4,); a, b of shape (2, 3, 4); img (2, 3, 5, 6),
floating and leaves; m a mask and i integers in [0, 3), both (3, 4); k integers (5,) with repeats; c
class indices (3,). A test says which functions have no call yet.
"""

import numpy as np

import npformer as npf
import npformer.nn.functional as F


class Tensors:
    """The operands. `tensor` makes a Tensor of a NumPy array; floating ones need a gradient."""

    def __init__(self, tensor):
        rng = np.random.default_rng(3)

        def leaf(*shape, low=None):
            data = rng.standard_normal(shape) if low is None else rng.uniform(low, 2.0, shape)
            return tensor(data).requires_grad_()

        self.x, self.y, self.p = leaf(3, 4), leaf(3, 4), leaf(3, 4, low=0.5)
        self.q, self.v = leaf(4, 5), leaf(4)
        self.a, self.b, self.img = leaf(2, 3, 4), leaf(2, 3, 4), leaf(2, 3, 5, 6)
        self.m, self.i = tensor(rng.random((3, 4)) < 0.5), tensor(rng.integers(0, 3, (3, 4)))
        self.k, self.c = tensor(np.array([0, 2, 1, 2, 2])), tensor(np.array([1, 3, 1]))
        self.leaves = [self.x, self.y, self.p, self.q, self.v, self.a, self.b, self.img]


def unary(library, operand, *names):
    """The functions of these names, each called with one operand."""
    return {name: lambda t, name=name: getattr(library, name)(getattr(t, operand))
            for name in names}


def binary(*names):
    return {name: lambda t, name=name: (getattr(npf, name)(t.x, t.p), getattr(npf, name)(t.x, 1.5))
            for name in names}


def reductions(*names):
    return {name: lambda t, name=name: (getattr(npf, name)(t.p),
                                        getattr(npf, name)(t.p, dim=1, keepdim=True))
            for name in names}


FUNCTIONS = {
    **unary(npf, "x", "abs", "absolute", "ceil", "clone", "cos", "erf", "exp", "expm1", "floor",
            "neg", "negative", "relu", "round", "sigmoid", "sign", "sin", "square", "tanh", "trunc",
            "isfinite", "isinf", "isnan", "is_floating_point", "logical_not", "ravel", "t", "tril",
            "triu", "argsort", "sort", "nonzero", "count_nonzero", "zeros_like", "ones_like",
            "empty_like", "diagonal", "flatten", "any", "all"),
    **unary(npf, "p", "log", "log1p", "sqrt", "rsqrt", "reciprocal"),
    **binary("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide",
             "floor_divide", "remainder", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"),
    **reductions("sum", "mean", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "norm",
                 "std", "var"),
    "pow": lambda t: (npf.pow(t.p, t.x), npf.pow(t.x, 3), npf.pow(2.0, t.x)),
    "logaddexp": lambda t: npf.logaddexp(t.x, t.y), "lerp": lambda t: npf.lerp(t.x, t.y, 0.3),
    "addcmul": lambda t: npf.addcmul(t.x, t.y, t.p, value=0.5),
    "addcdiv": lambda t: npf.addcdiv(t.x, t.y, t.p), "clamp": lambda t: npf.clamp(t.x, -0.5, 0.5),
    "clip": lambda t: npf.clip(t.x, t.y, None), "clamp_min": lambda t: npf.clamp_min(t.x, 0.1),
    "clamp_max": lambda t: npf.clamp_max(t.x, 0.1),
    "where": lambda t: (npf.where(t.m, t.x, t.v), npf.where(t.m, t.x, 0.0), npf.where(t.m)),
    "masked_fill": lambda t: npf.masked_fill(t.x, t.m, -1.0),
    "masked_select": lambda t: npf.masked_select(t.x, t.m),
    "softmax": lambda t: npf.softmax(t.x, dim=0),
    "log_softmax": lambda t: npf.log_softmax(t.x, dim=1),
    "logsumexp": lambda t: npf.logsumexp(t.x, dim=1), "cumsum": lambda t: npf.cumsum(t.x, dim=1),
    "allclose": lambda t: npf.allclose(t.x, t.x), "isclose": lambda t: npf.isclose(t.x, t.y),
    "equal": lambda t: npf.equal(t.x, t.x), "bincount": lambda t: npf.bincount(t.k, minlength=5),
    **{name: lambda t, name=name: getattr(npf, name)(t.m, t.x > 0)
       for name in ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
                    "bitwise_xor")},
    "bitwise_not": lambda t: (npf.bitwise_not(t.m), npf.bitwise_not(t.i)),
    # picking
    "getitem": lambda t: (t.x[t.k], t.x[:, t.k % 4], t.x[t.m], t.x[1], t.x[..., None, ::2],
                          t.x[t.k, t.k], t.x[[0, 2]]),
    "gather": lambda t: npf.gather(t.x, 0, t.i),
    "scatter": lambda t: npf.scatter(t.x, 0, t.i[:1], t.y),
    "scatter_add": lambda t: npf.scatter_add(t.x, 0, t.i, t.y),
    "take_along_dim": lambda t: npf.take_along_dim(t.x, t.i, 0),
    "index_select": lambda t: npf.index_select(t.x, 0, t.k),
    "index_add": lambda t: npf.index_add(t.x, 0, t.k, t.a.view(6, 4)[:5]),
    "index_copy": lambda t: npf.index_copy(t.x, 0, t.k[:2], t.y[:2]),
    "log2": lambda t: npf.log2(t.p), "log10": lambda t: npf.log10(t.p),
    "exp2": lambda t: npf.exp2(t.x), "index_fill": lambda t: npf.index_fill(t.x, 0, t.k[:2], 0.5),
    "select": lambda t: npf.select(t.x, 1, 2), "narrow": lambda t: npf.narrow(t.x, 1, 1, 2),
    "diag": lambda t: (npf.diag(t.v), npf.diag(t.x)), "topk": lambda t: npf.topk(t.x, 2, dim=1),
    "unique": lambda t: npf.unique(t.k),
    # products
    "matmul": lambda t: (npf.matmul(t.x, t.q), npf.matmul(t.a, t.q), npf.matmul(t.x, t.v)),
    "mm": lambda t: npf.mm(t.x, t.q),
    "bmm": lambda t: npf.bmm(t.a, t.b.transpose(1, 2)), "mv": lambda t: npf.mv(t.x, t.v),
    "dot": lambda t: npf.dot(t.v, t.v),
    "outer": lambda t: npf.outer(t.v, t.v),
    "addmm": lambda t: npf.addmm(t.q[0], t.x, t.q, beta=0.5),
    "baddbmm": lambda t: npf.baddbmm(t.x[:, :3], t.a, t.b.transpose(1, 2)),
    "einsum": lambda t: (npf.einsum("ij,jk", t.x, t.q), npf.einsum("...ij,kj->...ik", t.a, t.y),
                         npf.einsum("ii->i", t.q[:, :4]), npf.einsum("ij,bij,j->b", t.x, t.a, t.v)),
    "tensordot": lambda t: npf.tensordot(t.a, t.b, dims=([0, 2], [0, 2])),
    # shapes
    "reshape": lambda t: npf.reshape(t.x, (2, -1)), "view": lambda t: t.x.view(4, 3),
    "view_as": lambda t: t.x.view_as(t.y),
    "transpose": lambda t: npf.transpose(t.a, 0, 2),
    "permute": lambda t: npf.permute(t.a, (2, 0, 1)), "swapaxes": lambda t: npf.swapaxes(t.a, 0, 1),
    "swapdims": lambda t: npf.swapdims(t.a, 0, 1), "movedim": lambda t: npf.movedim(t.a, 0, 2),
    "moveaxis": lambda t: npf.moveaxis(t.a, (0, 1), (1, 2)),
    "squeeze": lambda t: npf.squeeze(t.x[:1]), "unsqueeze": lambda t: npf.unsqueeze(t.x, 1),
    "expand": lambda t: t.v.expand(2, 4), "expand_as": lambda t: t.v.expand_as(t.x),
    "broadcast_to": lambda t: npf.broadcast_to(t.v, (2, 4)),
    "broadcast_tensors": lambda t: npf.broadcast_tensors(t.x, t.v),
    "unflatten": lambda t: npf.unflatten(t.x, 1, (2, 2)), "flip": lambda t: npf.flip(t.x, (0, 1)),
    "roll": lambda t: npf.roll(t.x, 2, 1), "repeat": lambda t: t.x.repeat(2, 1),
    "tile": lambda t: npf.tile(t.x, (2, 2)),
    "repeat_interleave": lambda t: (npf.repeat_interleave(t.x, 2, dim=0),
                                    npf.repeat_interleave(t.k, t.k)),
    "cat": lambda t: npf.cat([t.x, t.y], 1), "concat": lambda t: npf.concat([t.x, t.y]),
    "concatenate": lambda t: npf.concatenate([t.x, t.y]),
    "stack": lambda t: npf.stack([t.x, t.y], 1), "hstack": lambda t: npf.hstack([t.x, t.y]),
    "vstack": lambda t: npf.vstack([t.x, t.v]), "split": lambda t: npf.split(t.x, [1, 3], dim=1),
    "chunk": lambda t: npf.chunk(t.x, 2, 1), "unbind": lambda t: npf.unbind(t.x, 1),
    "meshgrid": lambda t: npf.meshgrid(t.v, t.x[0], indexing="ij"),
    # new tensors like others
    "full_like": lambda t: npf.full_like(t.x, 2.5), "new_zeros": lambda t: t.x.new_zeros(2, 3),
    "new_ones": lambda t: t.x.new_ones(2), "new_empty": lambda t: t.x.new_empty(2),
    "new_full": lambda t: t.x.new_full((2,), 3.5),
    "new_tensor": lambda t: t.x.new_tensor([[1.0, 2.0]]), "rand_like": lambda t: npf.rand_like(t.x),
    "randn_like": lambda t: npf.randn_like(t.x),
    "bernoulli": lambda t: npf.bernoulli(t.p.detach() / 3),
}


LAYERS = {                                         # nn.functional
    **unary(F, "x", "celu", "elu", "gelu", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu",
            "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink"),
    "glu": lambda t: F.glu(t.x, 1), "softmax": lambda t: F.softmax(t.x, 1),
    "softmin": lambda t: F.softmin(t.x, 1), "log_softmax": lambda t: F.log_softmax(t.x, 1),
    "dropout": lambda t: F.dropout(t.x, 0.4),
    "gumbel_softmax": lambda t: F.gumbel_softmax(t.x, dim=1),
    "linear": lambda t: F.linear(t.a, t.q.T, t.q[0]),
    "embedding": lambda t: F.embedding(t.k, t.x, padding_idx=1),
    "bilinear": lambda t: F.bilinear(t.x, t.y, npf.cat([t.a.transpose(1, 2) @ t.b] * 2), t.v),
    "one_hot": lambda t: F.one_hot(t.i, 5),
    "pad": lambda t: (F.pad(t.x, (1, 2)), F.pad(t.x, (0, 1, 2, 0), value=1.5),
                      F.pad(t.a, (1, 2), mode="reflect")),
    "layer_norm": lambda t: F.layer_norm(t.a, (3, 4), t.x, t.y),
    "rms_norm": lambda t: F.rms_norm(t.a, (4,), t.v),
    "batch_norm": lambda t: F.batch_norm(
        t.a, t.x[:, 0].detach() * 0, t.p[:, 0].detach(), t.p[:, 1], t.x[:, 2], True),
    "normalize": lambda t: F.normalize(t.x, dim=1),
    "cosine_similarity": lambda t: F.cosine_similarity(t.x, t.y, dim=1),
    "cross_entropy": lambda t: (F.cross_entropy(t.x, t.c, t.v.exp(), label_smoothing=0.1),
                                F.cross_entropy(t.x, t.c * 0),
                                F.cross_entropy(t.x, F.softmax(t.y, -1))),
    "nll_loss": lambda t: F.nll_loss(F.log_softmax(t.x, 1), t.c, ignore_index=3),
    **{name: lambda t, name=name: getattr(F, name)(t.x, t.y)
       for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")},
    "kl_div": lambda t: F.kl_div(F.log_softmax(t.x, 1), F.softmax(t.y, 1), reduction="batchmean"),
    "binary_cross_entropy": lambda t: F.binary_cross_entropy(t.x.sigmoid(), t.y.sigmoid().detach()),
    "binary_cross_entropy_with_logits": lambda t: F.binary_cross_entropy_with_logits(
        t.x, t.m.double(), pos_weight=t.v.exp()),
    "scaled_dot_product_attention": lambda t: (
        F.scaled_dot_product_attention(t.a, t.b, t.a, is_causal=True),
        F.scaled_dot_product_attention(t.a, t.b, t.a, attn_mask=t.m[:, :3]),
        F.scaled_dot_product_attention(t.a, t.b, t.a, attn_mask=t.x[:, :3], dropout_p=0.3)),
    "multi_head_attention_forward": lambda t: F.multi_head_attention_forward(
        t.a.transpose(0, 1), t.b.transpose(0, 1), t.b.transpose(0, 1), 4, 2,
        npf.cat([t.x] * 4), t.x.view(-1), None, None, False, 0.0, t.q[:, :4], t.q[0, :4]),
    "conv2d": lambda t: F.conv2d(t.img, t.a.view(4, 3, 1, 2)[:, :, :, :], t.v,
                                 stride=(2, 1), padding=1),
    "conv1d": lambda t: F.conv1d(t.a, t.b.view(4, 3, 2), t.v, stride=2, padding=1),
    "unfold": lambda t: F.unfold(t.img, (2, 3), stride=2),
    "fold": lambda t: F.fold(F.unfold(t.img, (2, 3)), (5, 6), (2, 3)),
}
