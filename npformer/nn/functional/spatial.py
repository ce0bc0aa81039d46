"""linear, bilinear, and what concerns images: conv2d as a matrix product, unfold and fold, pad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core import devices
from ...core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from ...core.tape import require_boxes
from ...ops import conv, linalg
from ...ops.elementwise import add, values, where
from ...ops.indexing import getitem
from ...ops.shape import cut_along, embed, narrow, permute, reshape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...ops.shape import Shape
    from ...tensors import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·Wᵀ + b.   input (..., in), weight (out, in), bias (out,) or None -> (..., out)."""
    require_boxes("linear(input, weight)", input=input, weight=weight)
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            complaint("linear(input, weight)", "input's last dim must equal weight's second",
                      {"input": input, "weight": weight}, "weight is (out_features, in_features)."))
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            complaint("linear(input, weight, bias)", "bias needs one entry a row of weight",
                      {"weight": weight, "bias": bias}))
    if input.dtype != weight.dtype:
        raise DTypeError(complaint("linear(input, weight)", "both must have one dtype",
                                   {"input": input, "weight": weight},
                                   "Convert one: input.to(weight.dtype), or model.double()."))
    return linalg.linear(input, weight, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[..., o] = Σ x₁[..., i] · weight[o, i, j] · x₂[..., j] + bias[o] over i, j.

    input1 (..., I), input2 (..., J), weight (O, I, J), bias (O,) or None -> (..., O).
    """
    call, operands = "bilinear(input1, input2, weight)", {"input1": input1, "input2": input2,
                                                          "weight": weight}
    if weight.ndim != 3 or (input1.shape[-1:] + input2.shape[-1:]) != weight.shape[1:]:
        raise ShapeError(
            complaint(call, "weight must be (O, input1's last dim, input2's last dim)", operands))
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            complaint(call, "the inputs must agree in all dims but the last", operands))
    outs, ins, width = weight.shape
    rows = reshape(permute(weight, dims=(0, 2, 1)), shape=(outs * width, ins))
    y = reshape(linear(input1, rows), shape=(*input1.shape[:-1], outs, width))
    y = reshape(linalg.matmul(y, reshape(input2, shape=(*input2.shape, 1))),
                shape=(*input1.shape[:-1], outs))
    return y if bias is None else add(y, bias)


# ── convolution ───────────────────────────────────────────────────────────────────────────────────


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Shape = 1,
           padding: Shape | str = 0, dilation: Shape = 1, groups: int = 1) -> Tensor:
    """y[b, o, i, j] = bias[o] + Σ weight[o, c, u, v] · x[b, c, i·s + u·d, j·s + v·d] over c, u, v:
    stride s, dilation d

    input (B, C, H, W) or (C, H, W), weight (O, C/groups, kh, kw), bias (O,) or None -> (B, O, H',
    W'). padding: zeros around, a number, a pair, 'valid' (none) or 'same' (H' = H, stride 1 alone).
    groups: parts of the channels that do not meet.
    """
    check_convolution("conv2d", "H, W", "kh, kw", input, weight, bias, groups)
    if input.ndim == 3:
        y = conv2d(reshape(input, shape=(1, *input.shape)), weight, bias, stride, padding,
                   dilation, groups)
        return reshape(y, shape=y.shape[1:])
    kernel, stride, dilation = tuple(weight.shape[2:]), pair("stride", stride), pair("dilation",
                                                                                     dilation)
    input, padding = pad_uneven(input, padding, kernel, stride, dilation)
    batch, count = input.shape[0], weight.shape[0]
    size = conv.output_size(input.shape, kernel, stride, padding, dilation)
    columns = conv.unfold(input, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    # (B, G, C/G·kh·kw, H'·W')
    columns = reshape(columns, shape=(batch, groups, -1, size[0] * size[1]))
    rows = reshape(weight, shape=(groups, count // groups, -1))  # (G, O/G, C/G·kh·kw)
    y = reshape(linalg.matmul(rows, columns), shape=(batch, count, *size))
    return y if bias is None else add(y, reshape(bias, shape=(-1, 1, 1)))


def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Shape = 1,
           padding: Shape | str = 0, dilation: Shape = 1, groups: int = 1) -> Tensor:
    """y[b, o, i] = bias[o] + Σ weight[o, c, u] · x[b, c, i·s + u·d] over c, u: conv2d on images of
    one row.

    input (B, C, L) or (C, L), weight (O, C/groups, k), bias (O,) or None -> (B, O, L'). Options:
    those of conv2d.
    """
    check_convolution("conv1d", "L", "k", input, weight, bias, groups)
    if padding == "same" and tuple_of_one("stride", stride) != (1,):
        raise ValueRangeError(f"conv1d: padding='same' needs stride 1, got {stride}")
    image, kernel = (reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1])) for x in (input, weight))
    padding = padding if isinstance(padding, str) else (0, *tuple_of_one("padding", padding))
    steps, gaps = tuple_of_one("stride", stride), tuple_of_one("dilation", dilation)
    y = conv2d(image, kernel, bias, (1, *steps), padding, (1, *gaps), groups)
    return reshape(y, shape=(*y.shape[:-2], y.shape[-1]))


def tuple_of_one(name, value):
    """(value,) for a number; a tuple of one as it is."""
    return pair(name, (value, value) if isinstance(value, int) else tuple(value) * 2)[:1]


def check_convolution(name, sizes, kernel, input, weight, bias, groups):
    """Raise where the operands of a convolution over the dims `sizes` do not fit."""
    call, operands = f"{name}(input, weight)", {"input": input, "weight": weight}
    dims = len(sizes.split(", "))
    if input.ndim not in (dims + 1, dims + 2) or weight.ndim != dims + 2:
        raise ShapeError(
            complaint(call, f"input must be (B, C, {sizes}) or (C, {sizes}), weight (O, C/groups, "
                      f"{kernel})", operands))
    if groups < 1 or weight.shape[0] % groups or input.shape[-dims - 1] != weight.shape[1] * groups:
        raise ShapeError(
            complaint(call,
                      f"with groups={groups}, input's channels must be weight's second dim times "
                      "groups, and weight's first a multiple of groups", operands))
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            complaint(f"{name}(input, weight, bias)", "bias needs one entry an output channel",
                      {"weight": weight, "bias": bias}))
    if input.dtype != weight.dtype:
        raise DTypeError(complaint(call, "both must have one dtype", operands))


def pad_uneven(input, padding, kernel, stride, dilation):
    """(input, padding) with padding as a pair; what is uneven in 'same' is put on input itself."""
    if padding == "valid":
        return input, (0, 0)
    if padding != "same":
        return input, pair("padding", padding)
    if stride != (1, 1):
        raise ValueRangeError(f"conv2d: padding='same' needs stride 1, got {stride}")
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    extra = [n % 2 for n in total]
    if any(extra):
        input = pad(input, (0, extra[1], 0, extra[0]))
    return input, tuple(n // 2 for n in total)


def pair(name, value):
    """(value, value) for a number; a tuple of two for a pair."""
    numbers = (value, value) if isinstance(value, int) else tuple(value)
    least = 0 if name == "padding" else 1
    if len(numbers) != 2 or any(not isinstance(n, (int, np.integer)) or n < least for n in numbers):
        raise ValueRangeError(
            f"{name} must be an integer >= {least}, or two of them, got {value!r}")
    return numbers


def unfold(input: Tensor, kernel_size: Shape, dilation: Shape = 1, padding: Shape = 0,
           stride: Shape = 1) -> Tensor:
    """The patches of an image as columns.

    input (B, C, H, W) -> (B, C·kh·kw, L); (C, H, W) -> (C·kh·kw, L).
    """
    if input.ndim not in (3, 4):
        raise ShapeError(
            complaint("unfold(input, kernel_size)", "input must be (B, C, H, W) or (C, H, W)",
                      {"input": input}))
    batch = input if input.ndim == 4 else reshape(input, shape=(1, *input.shape))
    y = conv.unfold(batch, **unfold_options(kernel_size, dilation, padding, stride))
    return y if input.ndim == 4 else reshape(y, shape=y.shape[1:])


def fold(input: Tensor, output_size: Shape, kernel_size: Shape, dilation: Shape = 1,
         padding: Shape = 0, stride: Shape = 1) -> Tensor:
    """Columns added back into an image of output_size.   input (B, C·kh·kw, L) -> (B, C, H, W)."""
    how, size = unfold_options(kernel_size, dilation, padding,
                               stride), pair("output_size", output_size)
    entries = how["kernel"][0] * how["kernel"][1]
    rows, columns = conv.output_size(size, how["kernel"], how["stride"], how["padding"],
                                     how["dilation"])
    if input.ndim != 3 or input.shape[1] % entries or input.shape[2] != rows * columns:
        raise ShapeError(complaint(f"fold(input, output_size={size})",
                                   f"input must be (B, a multiple of {entries}, "
                                   f"{rows * columns})", {"input": input}))
    return conv.fold(input, shape=(input.shape[0], input.shape[1] // entries, *size), **how)


def unfold_options(kernel_size, dilation, padding, stride):
    """The options of the operation unfold, each a pair."""
    return dict(kernel=pair("kernel_size", kernel_size), stride=pair("stride", stride),
                padding=pair("padding", padding), dilation=pair("dilation", dilation))


# ── padding ───────────────────────────────────────────────────────────────────────────────────────

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """input with entries added at both ends of its last dims: pad = (last's start, its end, last
    but one's start, ...).

    mode: "constant" (of `value`, default 0; negative pads cut), "reflect", "replicate" or
    "circular".
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(complaint(f"pad(input, pad={tuple(pad)})",
                                   "pad needs two numbers a dim, the last dim first",
                                   {"input": input}))
    if mode != "constant" and mode not in NUMPY_MODES:
        raise ValueRangeError(
            f"pad(input, mode): mode must be 'constant', {', '.join(map(repr, NUMPY_MODES))}, "
            f"got {mode!r}")
    for i in range(0, len(pad), 2):
        dim, before, after = input.ndim - 1 - i // 2, pad[i], pad[i + 1]
        if before or after:
            input = (pad_with_constant(input, dim, before, after, value) if mode == "constant" else
                     pad_from_itself(input, dim, before, after, mode))
    return input


def pad_with_constant(x, dim, before, after, value):
    """x with `value` at both ends of dim, or cut there."""
    cut = [-min(before, 0), -min(after, 0)]
    if any(cut):
        x = narrow(x, dim=dim, start=cut[0], length=x.shape[dim] - sum(cut))
    before, size = max(before, 0), x.shape[dim]
    total = before + size + max(after, 0)
    if total == size:
        return x
    y = embed(x, dim=dim, start=before, size=total)
    if not value:
        return y
    places = np.arange(total, like=values(x)).reshape((-1,) + (1,) * (x.ndim - 1 - dim))
    return where((places >= before) & (places < before + size), y, value)


def pad_from_itself(x, dim, before, after, mode):
    """x with its own entries repeated at both ends of dim."""
    size = x.shape[dim]
    most = size - 1 if mode == "reflect" else size
    if min(before, after) < 0 or mode != "replicate" and max(before, after) > most:
        rule = (f"dim {dim} has {size} entries, so it can be padded by 0 to {most}, "
                f"not by {(before, after)}")
        raise ShapeError(complaint(f"pad(input, mode={mode!r})", rule, {"input": x}))
    places = np.pad(np.arange(size), (before, after), NUMPY_MODES[mode])
    places = devices.move(places, devices.device_of(values(x)))
    return getitem(x, index=cut_along(dim, places, x.ndim))
