"""The functions that are a Tensor's methods too, one a line, by the file that they stand in.

A test holds this list against `functions` and PyTorch's Tensor, and names a forgotten method.
"""

from __future__ import annotations

from . import functions as f
from . import inplace
from .inplace import in_place
from .tracked import Tracked


class Methods(Tracked):
    """What Tensor inherits: `x.exp()` is `npf.exp(x)`, and `x.exp_()` writes the result into x."""

    # ── each entry alone (functions/pointwise.py) ─────────────────────────────────────────────────

    abs = f.abs
    absolute = f.absolute
    add = f.add
    addcdiv = f.addcdiv
    addcmul = f.addcmul
    ceil = f.ceil
    clamp = f.clamp
    clamp_max = f.clamp_max
    clamp_min = f.clamp_min
    clip = f.clip
    clone = f.clone
    cos = f.cos
    div = f.div
    divide = f.divide
    erf = f.erf
    exp = f.exp
    exp2 = f.exp2
    expm1 = f.expm1
    floor = f.floor
    floor_divide = f.floor_divide
    lerp = f.lerp
    log = f.log
    log10 = f.log10
    log1p = f.log1p
    log2 = f.log2
    log_softmax = f.log_softmax
    logaddexp = f.logaddexp
    masked_fill = f.masked_fill
    maximum = f.maximum
    minimum = f.minimum
    mul = f.mul
    multiply = f.multiply
    neg = f.neg
    negative = f.negative
    pow = f.pow
    reciprocal = f.reciprocal
    relu = f.relu
    remainder = f.remainder
    round = f.round
    rsqrt = f.rsqrt
    sigmoid = f.sigmoid
    sign = f.sign
    sin = f.sin
    softmax = f.softmax
    sqrt = f.sqrt
    square = f.square
    sub = f.sub
    subtract = f.subtract
    tanh = f.tanh
    true_divide = f.true_divide
    trunc = f.trunc

    # ── comparisons and logic (functions/comparing.py) ────────────────────────────────────────────

    allclose = f.allclose
    bitwise_and = f.bitwise_and
    bitwise_not = f.bitwise_not
    bitwise_or = f.bitwise_or
    bitwise_xor = f.bitwise_xor
    eq = f.eq
    equal = f.equal
    ge = f.ge
    gt = f.gt
    is_floating_point = f.is_floating_point
    isclose = f.isclose
    isfinite = f.isfinite
    isinf = f.isinf
    isnan = f.isnan
    le = f.le
    logical_and = f.logical_and
    logical_not = f.logical_not
    logical_or = f.logical_or
    logical_xor = f.logical_xor
    lt = f.lt
    ne = f.ne

    # ── many entries into one (functions/reduction.py) ────────────────────────────────────────────

    all = f.all
    amax = f.amax
    amin = f.amin
    any = f.any
    argmax = f.argmax
    argmin = f.argmin
    bincount = f.bincount
    count_nonzero = f.count_nonzero
    cumsum = f.cumsum
    logsumexp = f.logsumexp
    max = f.max
    mean = f.mean
    min = f.min
    norm = f.norm
    prod = f.prod
    std = f.std
    sum = f.sum
    var = f.var

    # ── matrix products (functions/linalg.py) ─────────────────────────────────────────────────────

    addmm = f.addmm
    baddbmm = f.baddbmm
    bmm = f.bmm
    dot = f.dot
    matmul = f.matmul
    mm = f.mm
    mv = f.mv
    outer = f.outer

    # ── shapes and orders (functions/shaping.py) ──────────────────────────────────────────────────

    broadcast_to = f.broadcast_to
    chunk = f.chunk
    expand = f.expand
    expand_as = f.expand_as
    flatten = f.flatten
    flip = f.flip
    moveaxis = f.moveaxis
    movedim = f.movedim
    permute = f.permute
    ravel = f.ravel
    repeat = f.repeat
    repeat_interleave = f.repeat_interleave
    reshape = f.reshape
    reshape_as = f.view_as
    roll = f.roll
    split = f.split
    squeeze = f.squeeze
    swapaxes = f.swapaxes
    swapdims = f.swapdims
    t = f.t
    tile = f.tile
    transpose = f.transpose
    unbind = f.unbind
    unflatten = f.unflatten
    unsqueeze = f.unsqueeze
    view = f.view
    view_as = f.view_as

    # ── picking entries (functions/indexing.py) ───────────────────────────────────────────────────

    argsort = f.argsort
    diag = f.diag
    diagonal = f.diagonal
    gather = f.gather
    index_add = f.index_add
    index_copy = f.index_copy
    index_fill = f.index_fill
    index_select = f.index_select
    masked_select = f.masked_select
    narrow = f.narrow
    nonzero = f.nonzero
    scatter = f.scatter
    scatter_add = f.scatter_add
    select = f.select
    sort = f.sort
    take_along_dim = f.take_along_dim
    topk = f.topk
    tril = f.tril
    triu = f.triu
    unique = f.unique

    # ── new tensors (functions/like.py) ───────────────────────────────────────────────────────────

    bernoulli = f.bernoulli
    new_empty = f.new_empty
    new_full = f.new_full
    new_ones = f.new_ones
    new_zeros = f.new_zeros
    new_tensor = f.new_tensor

    # ── in place ──────────────────────────────────────────────────────────────────────────────────

    abs_ = in_place(f.abs)
    add_ = in_place(f.add)
    addcdiv_ = in_place(f.addcdiv)
    addcmul_ = in_place(f.addcmul)
    ceil_ = in_place(f.ceil)
    clamp_ = in_place(f.clamp)
    clamp_max_ = in_place(f.clamp_max)
    clamp_min_ = in_place(f.clamp_min)
    clip_ = clamp_
    div_ = in_place(f.div)
    exp_ = in_place(f.exp)
    floor_ = in_place(f.floor)
    index_add_ = in_place(f.index_add)
    index_copy_ = in_place(f.index_copy)
    index_fill_ = in_place(f.index_fill)
    lerp_ = in_place(f.lerp)
    log_ = in_place(f.log)
    masked_fill_ = in_place(f.masked_fill)
    mul_ = in_place(f.mul)
    neg_ = in_place(f.neg)
    pow_ = in_place(f.pow)
    reciprocal_ = in_place(f.reciprocal)
    relu_ = in_place(f.relu)
    round_ = in_place(f.round)
    rsqrt_ = in_place(f.rsqrt)
    scatter_ = in_place(f.scatter)
    scatter_add_ = in_place(f.scatter_add)
    sigmoid_ = in_place(f.sigmoid)
    sign_ = in_place(f.sign)
    sqrt_ = in_place(f.sqrt)
    square_ = in_place(f.square)
    sub_ = in_place(f.sub)
    tanh_ = in_place(f.tanh)
    tril_ = in_place(f.tril)
    triu_ = in_place(f.triu)

    fill_ = inplace.fill_
    zero_ = inplace.zero_
    copy_ = inplace.copy_
    uniform_ = inplace.uniform_
    normal_ = inplace.normal_
    bernoulli_ = inplace.bernoulli_
