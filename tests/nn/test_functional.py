"""nn.functional against PyTorch in float64: forward and gradients over shapes and options."""

import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest
from against_torch import agree, torch
from hypothesis import given, settings
from hypothesis import strategies as st

import npformer as npf
import npformer.nn.functional as F

sizes = st.integers(1, 5)
shapes = st.lists(sizes, min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 10**6)


def rng_of(seed):
    return np.random.default_rng(seed)


def real(seed, *shape):
    return rng_of(seed).standard_normal(shape) * 2


def apart(seed, *shape):
    """No two entries equal, none at a kink."""
    n = math.prod(shape)
    return ((rng_of(seed).permutation(n) + 0.75 - n // 2) * 0.137).reshape(shape)


def test_every_public_function_can_be_had_from_the_package():
    seen = 0
    for info in pkgutil.iter_modules(F.__path__):
        module = importlib.import_module(f"{F.__name__}.{info.name}")
        for name, value in vars(module).items():
            theirs = getattr(torch.nn.functional, name, None)
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and callable(theirs):
                seen += 1
                place = f"{name} is defined in {info.name} and missing in nn.functional"
                assert getattr(F, name, None) is value, place
    assert seen > 40


def test_argument_names_and_defaults_are_pytorchs():
    left_out = {"size_average", "reduce", "_stacklevel", "out", "max_norm", "norm_type",
                "scale_grad_by_freq", "sparse", "static_k", "static_v"}
    both = [name for name, ours in vars(F).items() if inspect.isfunction(ours)
            and inspect.isfunction(getattr(torch.nn.functional, name, None))]
    assert len(both) > 30
    for name in both:
        theirs = getattr(torch.nn.functional, name)
        wanted = [p for p in inspect.signature(theirs).parameters if p not in left_out]
        got = list(inspect.signature(getattr(F, name)).parameters)
        assert sorted(got) == sorted(wanted), name
        defaults = {n: p.default for n, p in inspect.signature(getattr(F, name)).parameters.items()}
        for n, p in inspect.signature(theirs).parameters.items():
            if n in defaults and p.default is not p.empty:
                assert defaults[n] == p.default, f"{name}({n})"


# ── activations ───────────────────────────────────────────────────────────────────────────────────

PLAIN = ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardtanh",
         "gelu", "softplus", "logsigmoid", "softsign", "tanhshrink", "sigmoid", "tanh"]
OPTIONS = [("leaky_relu", dict(negative_slope=0.3)), ("elu", dict(alpha=1.7)),
           ("celu", dict(alpha=0.5)), ("gelu", dict(approximate="tanh")),
           ("softplus", dict(beta=2.5, threshold=3.0)),
           ("hardtanh", dict(min_val=-0.5, max_val=1.5))]


@pytest.mark.parametrize("name,options", [(name, {}) for name in PLAIN] + OPTIONS)
@settings(max_examples=15)
@given(shape=shapes, seed=seeds)
def test_activation(name, options, shape, seed):
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x, **options), apart(seed, *shape))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu(dim):
    agree(lambda lib, x: lib.nn.functional.glu(x, dim), real(3, 4, 6, 2))
    with pytest.raises(npf.ShapeError, match="the dim is halved, so its size must be even"):
        F.glu(npf.ones(3, 4), 0)


@pytest.mark.parametrize("name", PLAIN)
def test_activation_of_large_values_and_of_none(name):
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x),
          np.array([-800.0, -30.0, -9.1, 8.9, 31.0, 790.0]))
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x), np.zeros((0, 3)))
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x),
          np.float32([[-1.5, 0.25], [2.5, 7.0]]), rtol=1e-6)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu",
                                  "mish", "hardtanh"])
def test_inplace_leaves_the_result_in_the_input(name):
    def program(lib, x):
        h = x * 2
        y = getattr(lib.nn.functional, name)(h, inplace=True)
        assert y is h
        return y * h
    agree(program, apart(0, 3, 4))
    x = npf.tensor([-1.0, 2.0])
    alias = x.view(2, 1)
    F.relu(x, inplace=True)
    assert alias.tolist() == [[0.0], [2.0]]
    with pytest.raises(npf.GraphError, match="inplace=True: x is a leaf"):
        F.relu(npf.tensor([-1.0], requires_grad=True), inplace=True)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@given(shape=shapes, seed=seeds, data=st.data())
def test_softmax_family(name, shape, seed, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x, dim=dim), real(seed, *shape))
    agree(lambda lib, x: getattr(lib.nn.functional, name)(x, dim=dim, dtype=lib.float64),
          real(seed, *shape).astype(np.float32), rtol=1e-6)


def test_softmax_without_a_dim_warns_and_takes_pytorchs():
    for shape in ((4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)):
        with pytest.warns(UserWarning, match="Say which dim is to sum to 1"):
            y = F.softmax(npf.tensor(real(0, *shape)))
        dim = 0 if len(shape) in (1, 3) else 1
        assert np.allclose(y.sum(dim).numpy(), 1)


def test_dropout():
    x = npf.ones(200, 300, requires_grad=True)
    y = F.dropout(x, 0.25)
    assert set(np.unique(y.detach().numpy())) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y.detach().numpy() == 0).mean() - 0.25) < 0.01
    y.sum().backward()
    assert (x.grad.numpy() == y.detach().numpy()).all()
    assert F.dropout(x, 0.25, training=False) is x and F.dropout(x, 0.0) is x
    assert (F.dropout(x, 1.0).detach().numpy() == 0).all()
    npf.manual_seed(3)
    first = F.dropout(x)
    npf.manual_seed(3)
    assert (first == F.dropout(x)).all()


# ── normalisations ────────────────────────────────────────────────────────────────────────────────


@given(shape=shapes, last=st.integers(1, 4), seed=seeds,
       affine=st.sampled_from(["", "w", "wb", "b"]))
def test_layer_norm(shape, last, seed, affine):
    shape = (*shape, 3)
    normalized = shape[-min(last, len(shape)):]
    weight, bias = rng_of(seed + 1).uniform(0.5, 2, normalized), real(seed + 2, *normalized)

    def program(lib, x, w, b):
        w, b = w if "w" in affine else None, b if "b" in affine else None
        return lib.nn.functional.layer_norm(x, normalized, w, b, 0.1)
    agree(program, real(seed, *shape), weight, bias)


@given(shape=shapes, last=st.integers(1, 3), seed=seeds, affine=st.booleans(),
       eps=st.sampled_from([None, 0.1]))
def test_rms_norm(shape, last, seed, affine, eps):
    shape = (*shape, 3)
    normalized = shape[-min(last, len(shape)):]

    def program(lib, x, w):
        return lib.nn.functional.rms_norm(x, normalized, w if affine else None, eps)
    agree(program, real(seed, *shape), rng_of(seed + 1).uniform(0.5, 2, normalized))


@given(batch=st.integers(2, 6), channels=sizes, rest=st.lists(sizes, max_size=2), seed=seeds,
       training=st.booleans(), momentum=st.sampled_from([0.1, 0.5, 1.0]), affine=st.booleans())
def test_batch_norm(batch, channels, rest, seed, training, momentum, affine):
    def program(lib, x, w, b, mean, var):
        mean, var = mean.detach().clone(), (var * var + 0.3).detach()
        y = lib.nn.functional.batch_norm(x, mean, var, w if affine else None, b if affine else None,
                                         training, momentum, eps=0.1)
        return y, mean, var
    agree(program, real(seed, batch, channels, *rest),
          *(real(seed + i, channels) for i in range(1, 5)))


@given(shape=shapes, seed=seeds, p=st.sampled_from([1.0, 2.0, 3.0, math.inf]), data=st.data())
def test_normalize(shape, seed, p, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    agree(lambda lib, x: lib.nn.functional.normalize(x, p=p, dim=dim), apart(seed, *shape))


@given(shape=shapes, seed=seeds, data=st.data())
def test_cosine_similarity(shape, seed, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    agree(lambda lib, a, b: lib.nn.functional.cosine_similarity(a, b, dim=dim),
          real(seed, *shape), real(seed + 1, *shape))


def test_normalize_and_cosine_similarity_of_zeros():
    x = real(0, 3, 4)
    x[1] = 0
    agree(lambda lib, x: lib.nn.functional.normalize(x), x)
    agree(lambda lib, x: lib.nn.functional.cosine_similarity(x, lib.ones_like(x)), x)


# ── lookup ────────────────────────────────────────────────────────────────────────────────────────


@given(shape=st.lists(sizes, max_size=3).map(tuple), rows=st.integers(2, 6), seed=seeds,
       data=st.data())
def test_embedding(shape, rows, seed, data):
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    index = rng_of(seed).integers(0, rows, shape)
    agree(lambda lib, i, w: lib.nn.functional.embedding(i, w, padding_idx=padding), index,
          real(seed, rows, 3))


def test_one_hot():
    index = np.array([[0, 3, 1], [3, 3, 2]])
    agree(lambda lib, i: lib.nn.functional.one_hot(i), index)
    agree(lambda lib, i: lib.nn.functional.one_hot(i, 7), index)
    agree(lambda lib, i: lib.nn.functional.one_hot(i, 7), index[:, :0])


# ── losses ────────────────────────────────────────────────────────────────────────────────────────

reductions = st.sampled_from(["mean", "sum", "none"])
item_shapes = st.lists(sizes, max_size=3).map(tuple)


def classes_at_dim_1(items, classes):
    return (items[0], classes, *items[1:]) if items else (classes,)


@given(items=item_shapes, classes=st.integers(2, 6), seed=seeds, reduction=reductions,
       weighted=st.booleans(), smoothing=st.sampled_from([0.0, 0.1, 1.0]),
       ignore=st.sampled_from([-100, 1]))
def test_cross_entropy_of_indices(items, classes, seed, reduction, weighted, smoothing, ignore):
    target = rng_of(seed).integers(0, classes, items)
    if ignore == -100:
        target = np.where(rng_of(seed + 1).random(items) < 0.2, -100, target)
    if reduction == "mean" and not ((target != ignore) & (target >= 0)).any():
        return
    weight = rng_of(seed + 2).uniform(0.3, 2, classes)
    agree(lambda lib, x, t: lib.nn.functional.cross_entropy(
        x, t, lib.tensor(weight) if weighted else None, ignore_index=ignore, reduction=reduction,
        label_smoothing=smoothing), real(seed, *classes_at_dim_1(items, classes)), target)


@given(items=item_shapes, classes=st.integers(2, 6), seed=seeds, reduction=reductions,
       weighted=st.booleans(), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy_of_probabilities(items, classes, seed, reduction, weighted, smoothing):
    shape = classes_at_dim_1(items, classes)
    target = rng_of(seed).random(shape)
    weight = rng_of(seed + 2).uniform(0.3, 2, classes)
    agree(lambda lib, x, t: lib.nn.functional.cross_entropy(
        x, t, lib.tensor(weight) if weighted else None, reduction=reduction,
        label_smoothing=smoothing), real(seed, *shape), target)


@given(items=item_shapes, classes=st.integers(2, 6), seed=seeds, reduction=reductions,
       weighted=st.booleans())
def test_nll_loss(items, classes, seed, reduction, weighted):
    target = rng_of(seed).integers(0, classes, items)
    if target.size > 1:
        target.reshape(-1)[0] = -100
    weight = rng_of(seed + 2).uniform(0.3, 2, classes)
    agree(lambda lib, x, t: lib.nn.functional.nll_loss(
        lib.nn.functional.log_softmax(x, dim=min(1, x.ndim - 1)), t,
        lib.tensor(weight) if weighted else None, reduction=reduction),
        real(seed, *classes_at_dim_1(items, classes)), target)


def test_losses_in_which_no_item_counts_are_nan():
    target = np.array([-100, -100])
    for name in ("cross_entropy", "nll_loss"):
        agree(lambda lib, x, t, name=name: getattr(lib.nn.functional, name)(x.detach(), t),
              real(0, 2, 3), target)


@pytest.mark.parametrize("name,options", [
    ("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {}), ("smooth_l1_loss", dict(beta=0.4)),
    ("smooth_l1_loss", dict(beta=0)), ("huber_loss", {}), ("huber_loss", dict(delta=0.6)),
    ("kl_div", {}), ("kl_div", dict(log_target=True)), ("binary_cross_entropy_with_logits", {})])
@settings(max_examples=15)
@given(shape=shapes, seed=seeds, reduction=reductions)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_loss_of_two_tensors(name, options, shape, seed, reduction):
    target = rng_of(seed).random(shape)
    agree(lambda lib, x, t: getattr(lib.nn.functional, name)(x, t, reduction=reduction, **options),
          apart(seed, *shape), target)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_distances(name, reduction):
    weight = rng_of(2).uniform(0.3, 2, (3, 4))
    agree(lambda lib, x, t: getattr(lib.nn.functional, name)(
        x, t, reduction=reduction, weight=lib.tensor(weight)), real(0, 3, 4), real(1, 3, 4))


def test_kl_div_batchmean_and_targets_of_zero():
    target = np.array([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0]])
    agree(lambda lib, x, t: lib.nn.functional.kl_div(x, t.detach(), reduction="batchmean"),
          real(0, 2, 3), target)


@given(shape=shapes, seed=seeds, reduction=reductions, weighted=st.booleans())
def test_binary_cross_entropy(shape, seed, reduction, weighted):
    x, target = rng_of(seed).uniform(0.01, 0.99, shape), rng_of(seed + 1).random(shape)
    weight = rng_of(seed + 2).uniform(0.3, 2, shape)
    agree(lambda lib, x, t: lib.nn.functional.binary_cross_entropy(
        x, t, lib.tensor(weight) if weighted else None, reduction=reduction), x, target)


def test_binary_cross_entropy_at_the_ends():
    x, target = np.array([0.0, 1.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    agree(lambda lib, x, t: lib.nn.functional.binary_cross_entropy(
        x.detach(), t, reduction="none").detach(), x, target)
    agree(lambda lib, x, t: lib.nn.functional.binary_cross_entropy_with_logits(
        x * 1600 - 800, t, reduction="none"), x, target)


@given(shape=shapes, seed=seeds, reduction=reductions)
def test_binary_cross_entropy_with_logits_and_weights(shape, seed, reduction):
    weight = rng_of(seed + 2).uniform(0.3, 2, shape)
    positive = rng_of(seed + 3).uniform(0.3, 2, shape[-1:])
    agree(lambda lib, x, t: lib.nn.functional.binary_cross_entropy_with_logits(
        x, t, lib.tensor(weight), reduction=reduction, pos_weight=lib.tensor(positive)),
        real(seed, *shape), rng_of(seed + 1).random(shape))


# ── attention ─────────────────────────────────────────────────────────────────────────────────────


def some_mask(kind, seed, *shape):
    """Bools, every row partly hidden, and one wholly if there are several; or numbers; or None."""
    if kind is None:
        return None
    seen = rng_of(seed).random(shape) < 0.6
    seen[..., 0] = True
    seen.reshape(-1, shape[-1])[-1] = shape[-2] < 2
    added = real(seed, *shape)
    return {"bool": seen, "float": np.where(seen, added, -np.inf), "finite": added}[kind]


@given(lead=st.lists(st.integers(1, 3), max_size=2),
       sizes=st.lists(st.integers(1, 6), min_size=4, max_size=4),
       kind=st.sampled_from([None, "bool", "float", "finite", "causal"]),
       scale=st.sampled_from([None, 0.3]), seed=seeds)
def test_scaled_dot_product_attention(lead, sizes, kind, scale, seed):
    T, S, K, W = sizes
    mask = some_mask(None if kind == "causal" else kind, seed, T, S)

    def program(lib, q, k, v):
        m = None if mask is None else lib.tensor(mask)
        return lib.nn.functional.scaled_dot_product_attention(
            q, k, v, m, is_causal=kind == "causal", scale=scale)
    agree(program, real(seed, *lead, T, K), real(seed + 1, *lead, S, K),
          real(seed + 2, *lead, S, W))


@given(batch=st.integers(1, 3), heads=st.sampled_from([(4, 2), (6, 1), (3, 3)]), seed=seeds,
       masked=st.booleans())
def test_grouped_heads(batch, heads, seed, masked):
    mask = rng_of(seed).random((batch, 1, 5, 7)) < 0.7

    def program(lib, q, k, v):
        m = lib.tensor(mask) if masked else None
        return lib.nn.functional.scaled_dot_product_attention(q, k, v, m, enable_gqa=True)
    agree(program, real(seed, batch, heads[0], 5, 4), real(seed + 1, batch, heads[1], 7, 4),
          real(seed + 2, batch, heads[1], 7, 3))


def test_a_floating_mask_gets_a_gradient():
    agree(lambda lib, q, k, v, m: lib.nn.functional.scaled_dot_product_attention(q, k, v, m),
          real(0, 2, 3, 5, 4), real(1, 2, 3, 6, 4), real(2, 2, 3, 6, 4), real(3, 3, 5, 6))


def test_attention_of_batches_that_broadcast():
    mask = rng_of(4).random((3, 1, 5, 6)) < 0.7
    agree(lambda lib, q, k, v: lib.nn.functional.scaled_dot_product_attention(
        q, k, v, lib.tensor(mask)),
          real(0, 1, 2, 5, 4), real(1, 3, 1, 6, 4), real(2, 3, 2, 6, 4))
    y = F.scaled_dot_product_attention(npf.ones(1, 5, 4), npf.ones(3, 6, 4), npf.ones(3, 6, 4),
                                       dropout_p=0.5)
    assert y.shape == (3, 5, 4)


def test_dropped_attention_weights():
    q = npf.ones(1, 40, 3, dtype=npf.float64)
    v = npf.eye(40, dtype=npf.float64)[None]
    weights = F.scaled_dot_product_attention(q, npf.ones(1, 40, 3, dtype=npf.float64), v,
                                             dropout_p=0.25).numpy()
    assert set(np.unique(weights.round(12))) == {0.0, round(1 / 40 / 0.75, 12)}
    assert abs((weights == 0).mean() - 0.25) < 0.03


MHA = dict(batch=st.integers(1, 3), sizes=st.lists(st.integers(1, 5), min_size=2, max_size=2),
           heads=st.integers(1, 3), padding=st.sampled_from([None, "bool", "float"]),
           mask=st.sampled_from([None, "bool", "float", "each"]), separate=st.booleans(),
           bias=st.booleans(), extra=st.booleans(), zero=st.booleans(), need=st.booleans(),
           average=st.booleans(), batched=st.booleans(), seed=seeds)


@settings(max_examples=100)
@given(**MHA)
@pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning")
def test_multi_head_attention_forward(batch, sizes, heads, padding, mask, separate, bias, extra,
                                      zero, need, average, batched, seed):
    (T, S), E = sizes, 4 * heads
    batch = batch if batched else 1
    widths = (E, 3, 5) if separate else (E, E, E)
    inputs = [real(seed + i, *((n, batch) if batched else (n,)), w)
              for i, (n, w) in enumerate(zip((T, S, S), widths))]
    shapes = dict(out_proj_weight=(E, E), out_proj_bias=(E,))
    if separate:
        shapes.update({f"{n}_proj_weight": (E, w) for n, w in zip("qkv", widths)})
    else:
        shapes.update(in_proj_weight=(3 * E, E))
    if bias:
        shapes.update(in_proj_bias=(3 * E,))
    if extra:
        shapes.update(bias_k=(1, 1, E), bias_v=(1, 1, E))
    parameters = dict(in_proj_weight=None, in_proj_bias=None, bias_k=None, bias_v=None)
    parameters.update({n: 0.2 * real([seed, i], *shape)
                       for i, (n, shape) in enumerate(shapes.items())})
    masks = dict(key_padding_mask=hidden(padding, seed, *((batch, S) if batched else (S,))),
                 attn_mask=hidden(mask, seed + 1,
                                  *((batch * heads, T, S) if mask == "each" else (T, S))))
    given_names = [n for n, p in parameters.items() if p is not None]

    def program(lib, q, k, v, *tensors):
        p = {**parameters, **dict(zip(given_names, tensors))}
        m = {n: None if a is None else lib.tensor(a) for n, a in masks.items()}
        y, weights = lib.nn.functional.multi_head_attention_forward(
            q, k, v, E, heads, add_zero_attn=zero, dropout_p=0.0, need_weights=need,
            average_attn_weights=average, use_separate_proj_weight=separate, **p, **m)
        assert (weights is not None) == need
        return (y, weights) if need else y
    agree(program, *inputs, *(parameters[n] for n in given_names))


def hidden(kind, seed, *shape):
    """A mask in multi_head_attention_forward's sense; every query sees the first key."""
    if kind is None:
        return None
    mask = rng_of(seed).random(shape) < 0.4
    mask[..., 0] = False
    return np.where(mask, -np.inf, real(seed, *shape)) if kind == "float" else mask


def test_causal_multi_head_attention_and_its_dropout():
    x = real(0, 5, 2, 6)
    weights = [real(1, 18, 6), real(2, 18), real(3, 6, 6), real(4, 6)]

    def run(lib, x, w, b, ow, ob, **options):
        return lib.nn.functional.multi_head_attention_forward(
            x, x, x, 6, 2, w, b, None, None, False, 0.0, ow, ob, **options)
    mask = ~np.tri(5, dtype=bool)
    agree(lambda lib, *a: run(lib, *a, attn_mask=lib.tensor(mask), is_causal=True,
                              need_weights=False)[0], x, *weights)
    tensors = [npf.tensor(a) for a in (x, *weights)]
    assert npf.allclose(run(npf, *tensors, is_causal=True)[0],
                        run(npf, *tensors, attn_mask=npf.tensor(mask))[0])


def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient():
    q = npf.tensor(real(0, 1, 3, 4), requires_grad=True)
    k = npf.tensor(real(1, 1, 5, 4), requires_grad=True)
    mask = npf.tensor(np.array([[True] * 5, [False] * 5, [True] * 5]))
    y = F.scaled_dot_product_attention(q, k, k, mask)
    y.sum().backward()
    assert (y[0, 1] == 0).all() and (q.grad[0, 1] == 0).all() and npf.isfinite(k.grad).all()


# ── images, padding, linear ───────────────────────────────────────────────────────────────────────


@given(shape=st.lists(sizes, max_size=3).map(tuple), features=st.tuples(sizes, sizes), seed=seeds,
       bias=st.booleans())
def test_linear(shape, features, seed, bias):
    agree(lambda lib, x, w, b: lib.nn.functional.linear(x, w, b if bias else None),
          real(seed, *shape, features[0]), real(seed + 1, *features[::-1]),
          real(seed + 2, features[1]))


numbers = st.integers(1, 3)
pairs = st.tuples(numbers, numbers)


@settings(max_examples=60)
@given(batch=st.none() | numbers, channels=pairs, groups=st.integers(1, 2), kernel=pairs,
       stride=numbers | pairs,
       padding=st.integers(0, 2) | st.sampled_from(["same", "valid", (2, 0), (1, 2)]),
       dilation=st.integers(1, 2) | pairs, bias=st.booleans(), seed=seeds)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_conv2d(batch, channels, groups, kernel, stride, padding, dilation, bias, seed):
    stride = 1 if padding == "same" else stride
    lead = () if batch is None else (batch,)
    x = real(seed, *lead, channels[0] * groups, 8, 9)
    agree(lambda lib, x, w, b: lib.nn.functional.conv2d(x, w, b if bias else None, stride, padding,
                                                        dilation, groups),
          x, real(seed + 1, channels[1] * groups, channels[0], *kernel),
          real(seed + 2, channels[1] * groups))


@given(batch=st.none() | numbers, kernel=numbers | pairs, stride=numbers | pairs,
       padding=st.integers(0, 2), dilation=st.integers(1, 2) | pairs, seed=seeds)
def test_unfold_and_fold(batch, kernel, stride, padding, dilation, seed):
    options = dict(kernel_size=kernel, dilation=dilation, padding=padding, stride=stride)
    lead = () if batch is None else (batch,)
    agree(lambda lib, x: lib.nn.functional.unfold(x, **options), real(seed, *lead, 2, 7, 8))
    if batch:
        columns = F.unfold(npf.tensor(real(seed, batch, 2, 7, 8)), **options).numpy()
        agree(lambda lib, x: lib.nn.functional.fold(x, (7, 8), **options), columns)


@given(shape=shapes, seed=seeds, value=st.sampled_from([None, 0.0, 1.5, -math.inf]), data=st.data())
def test_constant_padding(shape, seed, value, data):
    by = []
    for n in reversed(shape[-data.draw(st.integers(1, len(shape))):]):
        by += [data.draw(st.integers(-((n - 1) // 2), 3)),
               data.draw(st.integers(-((n - 1) // 2), 3))]
    agree(lambda lib, x: lib.nn.functional.pad(x, tuple(by), value=value), real(seed, *shape))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@given(dims=st.integers(1, 2), by=st.lists(st.integers(0, 3), min_size=4, max_size=4), seed=seeds)
def test_padding_from_the_input_itself(mode, dims, by, seed):
    agree(lambda lib, x: lib.nn.functional.pad(x, tuple(by[:2 * dims]), mode=mode),
          real(seed, 2, 3, *(4, 5)[:dims]))


def test_padding_of_integers_and_bools():
    agree(lambda lib, x: lib.nn.functional.pad(x, (1, 2), value=7), np.arange(6).reshape(2, 3))
    agree(lambda lib, x: lib.nn.functional.pad(x, (1, 2), value=True), np.array([True, False]))


# ── what a mistake is told ────────────────────────────────────────────────────────────────────────

x23, x44, x1144 = npf.zeros(2, 3), npf.zeros(4, 4), npf.zeros(1, 1, 4, 4)
MESSAGES = [
    (lambda: F.linear(npf.zeros(2, 7, 64), npf.zeros(10, 32)), npf.ShapeError,
     "linear(input, weight): input's last dim must equal weight's second\n"
     "  input float32 (2, 7, 64)\n"
     "  weight float32 (10, 32)\n  weight is (out_features, in_features)."),
    (lambda: F.layer_norm(npf.zeros(2, 7, 64), (32,)), npf.ShapeError,
     "layer_norm(input, normalized_shape=(32,)): input's last dims must be normalized_shape\n"
     "  input float32 (2, 7, 64)\n  Did you build it for (32,) and feed it (64,)?"),
    (lambda: F.cross_entropy(npf.zeros(2, 5, 7), npf.zeros(2, 5, dtype=npf.int64)), npf.ShapeError,
     "cross_entropy(input, target): for input (2, 5, 7), target must hold class indices (2, 7)\n"
     "  input float32 (2, 5, 7)\n  target int64 (2, 5)\n"
     "  The classes must be dim 1. For (B, T, V) logits: input.view(-1, V) and target.view(-1)."),
    (lambda: F.cross_entropy(x23, npf.tensor([0, 5])), npf.IndexRangeError,
     "cross_entropy(logits, target): label 5 is out of range: it must be from 0 to 2, "
     "or ignore_index (-100)"),
    (lambda: F.cross_entropy(x23, npf.tensor([0.0, 1.0])), npf.DTypeError,
     "cross_entropy(input, target): target must hold class indices (integers), or probabilities "
     "of input's shape\n"
     "  input float32 (2, 3)\n  target float32 (2,)\n  Use target.long() for class indices."),
    (lambda: F.mse_loss(x23, x23, reduction="avg"), npf.ValueRangeError,
     "mse_loss(input, target): reduction must be one of 'mean', 'sum', 'none', got 'avg'"),
    (lambda: F.dropout(x23, 1.5), npf.ValueRangeError,
     "dropout(input, p): p is a probability, so it must be from 0 to 1, got 1.5"),
    (lambda: F.embedding(npf.tensor([0.5]), x44), npf.DTypeError,
     "embedding(input, weight): input must hold indices (integers)\n  input float32 (1,)\n"
     "  Use input.long()."),
    (lambda: F.scaled_dot_product_attention(x44, x44, x44, npf.ones(3, 4, dtype=npf.bool)),
     npf.ShapeError,
     "scaled_dot_product_attention(query, key, value), attn_mask: attn_mask must broadcast to "
     "(..., T, S) = (4, 4)\n"
     "  query float32 (4, 4)\n  attn_mask bool (3, 4)"),
    (lambda: F.binary_cross_entropy(npf.tensor([1.5]), npf.tensor([1.0])), npf.ValueRangeError,
     "binary_cross_entropy(input, target): input must hold probabilities, from 0 to 1\n"
     "  input float32 (1,)\n"
     "  For logits use binary_cross_entropy_with_logits."),
    (lambda: F.batch_norm(npf.zeros(1, 3), None, None, training=True), npf.ShapeError,
     "batch_norm(input, training=True): a variance needs more than one value a channel\n"
     "  input float32 (1, 3)\n"
     "  Use a larger batch, or eval()."),
]


@pytest.mark.parametrize("call,kind,text", MESSAGES,
                         ids=[m[2].split("(")[0] + str(i) for i, m in enumerate(MESSAGES)])
def test_the_exact_words(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


REFUSED = [
    lambda: F.layer_norm(npf.zeros(2, 3, dtype=npf.int64), 3),
    lambda: F.layer_norm(x23, 3, npf.ones(4)),
    lambda: F.linear(x23, npf.zeros(5, 3, dtype=npf.float64)),
    lambda: F.linear(x23, npf.zeros(5, 3), npf.zeros(3)),
    lambda: F.conv2d(x44, npf.zeros(1, 1, 2, 2)),
    lambda: F.conv2d(npf.zeros(1, 3, 4, 4), npf.zeros(2, 2, 2, 2)),
    lambda: F.conv2d(npf.zeros(1, 1, 2, 2), npf.zeros(1, 1, 3, 3)),
    lambda: F.conv2d(x1144, x1144, stride=0),
    lambda: F.conv2d(x1144, x1144, stride=2, padding="same"), lambda: F.pad(x23, (1,)),
    lambda: F.pad(x23, (1, 1), mode="mirror"), lambda: F.pad(x23, (3, 0), mode="reflect"),
    lambda: F.gelu(x23, approximate="fast"), lambda: F.hardtanh(x23, 2, 1),
    lambda: F.one_hot(npf.tensor([4]), 3), lambda: F.one_hot(npf.tensor([-1])),
    lambda: F.one_hot(npf.zeros(0, dtype=npf.int64)), lambda: F.one_hot(x23),
    lambda: F.embedding(npf.tensor([4]), x44), lambda: F.embedding(npf.tensor([-1]), x44),
    lambda: F.embedding(npf.tensor([1]), x44, padding_idx=4),
    lambda: F.nll_loss(x23, npf.tensor([0, 3])),
    lambda: F.cross_entropy(x23, npf.tensor([0, 1]), npf.ones(2)),
    lambda: F.cross_entropy(npf.tensor(1.0), npf.tensor(0)),
    lambda: F.cross_entropy(x23, npf.tensor([0, 1]), label_smoothing=1.5),
    lambda: F.smooth_l1_loss(x23, x23, beta=-1), lambda: F.huber_loss(x23, x23, delta=0),
    lambda: F.binary_cross_entropy(npf.ones(3), npf.ones(2)),
    lambda: F.kl_div(x23, x23, reduction="average"),
    lambda: F.mse_loss(x23, x23, weight=npf.ones(3)), lambda: F.softmax(x23, dim=2),
    lambda: F.scaled_dot_product_attention(x44, x23, x44),
    lambda: F.scaled_dot_product_attention(x44, x44, npf.zeros(3, 4)),
    lambda: F.scaled_dot_product_attention(x44, x44, x44, x44.bool(), is_causal=True),
    lambda: F.scaled_dot_product_attention(x44, x44, x44, x44.long()),
    lambda: F.scaled_dot_product_attention(x44, x44, x44.double()),
    lambda: F.scaled_dot_product_attention(x44, x44, x44, dropout_p=-0.1),
    lambda: F.scaled_dot_product_attention(npf.zeros(2, 3, 4), npf.zeros(3, 3, 4),
                                           npf.zeros(3, 3, 4)),
    lambda: F.scaled_dot_product_attention(npf.zeros(3, 2, 4), npf.zeros(2, 2, 4),
                                           npf.zeros(2, 2, 4), enable_gqa=True),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_mistakes_are_refused_in_our_words(number):
    with pytest.raises(npf.NpformerError):
        REFUSED[number]()


def test_a_loss_that_broadcasts_warns():
    with pytest.warns(UserWarning, match=r"target \(3,\) differs from input \(3, 1\)"):
        F.mse_loss(npf.zeros(3, 1), npf.zeros(3))


# ── nothing ───────────────────────────────────────────────────────────────────────────────────────


def test_empty_tensors_give_what_pytorchs_give():
    empty, none = np.zeros((0, 3)), np.zeros(0, np.int64)
    for name in ("cross_entropy", "nll_loss"):
        for reduction in ("mean", "sum", "none"):
            def loss(lib, x, t, name=name, reduction=reduction):
                return getattr(lib.nn.functional, name)(x.detach(), t, reduction=reduction)
            agree(loss, empty, none)
    agree(lambda lib, i, w: lib.nn.functional.embedding(i, w), none, real(0, 4, 3))
    agree(lambda lib, x, w, b: lib.nn.functional.linear(x, w, b), empty, real(0, 4, 3), real(1, 4))
    agree(lambda lib, x, w, b: lib.nn.functional.layer_norm(x, (3,), w, b), empty,
          real(0, 3), real(1, 3))
    for T, S in ((0, 3), (2, 0)):
        agree(lambda lib, q, k, v: lib.nn.functional.scaled_dot_product_attention(q, k, v),
              real(0, 1, T, 4), real(1, 1, S, 4), real(2, 1, S, 4))
