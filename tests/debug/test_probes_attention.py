"""Attention's maps: the weights and gradients that the models themselves keep, rollout, and numbers
that are known."""

import math

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.models import GPT, TinyTransformer, VisionTransformer, make_model


def close(a, b, rtol=1e-12):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-15)


def test_a_vision_transformer_keeps_the_same():
    model = VisionTransformer(8, 2, 1, 5, 16, depth=3, num_heads=2).double()
    with npf.debug.attention(model) as maps:
        y = model(npf.randn(2, 1, 8, 8, dtype=npf.float64), register_hook=True)
    (y * npf.randn(2, 5, dtype=npf.float64)).sum().backward()
    assert [m.where for m in maps] == [f"blocks.{i}.attn" for i in range(3)] and len(maps) == 3
    for m, block in zip(maps, model.blocks):
        np.testing.assert_array_equal(m.weights, block.attn.attention_map.detach().numpy())
        close(m.gradient, block.attn.attn_gradients.numpy())
        close(m.product, m.weights * m.gradient)


def test_the_encoder_decoder_keeps_the_same_under_its_masks():
    model = make_model(9, 9, N=2, d_model=8, d_ff=12, h=2, dropout=0.0).double()
    src, tgt = npf.randint(1, 9, (2, 4)), npf.randint(1, 9, (2, 6))
    mask = npf.ones(2, 1, 4, dtype=npf.bool)
    mask[0, 0, 2:] = False
    with npf.debug.attention(model) as maps:
        model(src, tgt, mask, None)
    assert len(maps) == 6
    for m in maps:
        np.testing.assert_array_equal(m.weights, model.get_submodule(m.where).attn.numpy())
    assert maps["decoder.layers.1.src_attn"].weights.shape == (2, 2, 6, 4)
    assert not maps["encoder.layers.0.self_attn"].weights[0, ..., 2:].any()


@pytest.mark.parametrize("build", [
    lambda: GPT(11, 6, 2, 2, 8), lambda: TinyTransformer(11, 6, 8, 2, 12, depth=2)],
    ids=["gpt", "tiny"])
def test_fused_attention_is_unfolded(build):
    """The weights that the fused operation does not return; their gradient against finite
    differences, found in another way."""
    model = build().double()
    ids = npf.randint(0, 11, (3, 6))
    with npf.debug.attention(model) as maps:
        loss = F.cross_entropy(model(ids).reshape(-1, 11), ids.reshape(-1))
    loss.backward()
    assert len(maps) == 2
    for m in maps:
        assert m.weights.shape == (3, 2, 6, 6)
        close(m.weights.sum(-1), 1)
        assert (np.triu(m.weights, 1) == 0).all() and np.abs(m.gradient).max() > 0


def test_the_gradient_of_the_weights():
    """softmax(q·kᵀ)·v by hand, where the weights are a leaf: dL/dA is what the probe finds."""
    class One(nn.Module):
        def forward(self, q, k, v, drop):
            y = F.scaled_dot_product_attention(q, k, v) if drop is None else npf.matmul(
                (q @ k.mT * 0.5).softmax(-1) * drop, v)
            return (y ** 3).sum()

    q, k, v = (npf.randn(2, 3, n, 4, dtype=npf.float64, requires_grad=True) for n in (5, 7, 7))
    drop = (npf.rand(2, 3, 5, 7, dtype=npf.float64) < 0.8) / 0.8
    for dropped in (None, drop.double()):
        model = One()
        with npf.debug.attention(model) as maps:
            loss = model(q, k, v, dropped)
        loss.backward()
        A = (q @ k.mT * 0.5).softmax(-1).detach() * (1 if dropped is None else dropped)
        close(maps[0].weights, A.numpy())
        A.requires_grad_()
        d, = npf.autograd.grad(((A @ v) ** 3).sum(), A)
        close(maps[0].gradient, d.numpy())


def test_weights_are_those_after_dropout():
    class Dropped(nn.Module):
        def forward(self, q, v):
            return F.scaled_dot_product_attention(q, q, v, dropout_p=0.5)

    q, v = (npf.randn(2, 3, 6, 4, dtype=npf.float64, requires_grad=True) for _ in range(2))
    model = Dropped()
    with npf.debug.attention(model) as maps:
        y = model(q, v)
    close(maps[0].weights @ v.detach().numpy(), y.detach().numpy())
    assert (maps[0].weights == 0).any()


def test_weights_in_an_einsum_and_used_twice():
    class Relative(nn.Module):
        """As with relative positions in the values: the weights go into two products."""

        def forward(self, q, v, r):
            A = npf.einsum("bhtk,bhsk->bhts", q, q).softmax(-1)
            self.A = A
            A.retain_grad()
            return npf.einsum("bhts,bhsk->bhtk", A, v) + npf.einsum("bhts,tsk->bhtk", A, r)

    model = Relative()
    with npf.debug.attention(model) as maps:
        y = model(*(npf.randn(*shape, dtype=npf.float64, requires_grad=True) for shape in (
            (2, 3, 5, 4), (2, 3, 5, 4), (5, 5, 4))))
    (y ** 2).sum().backward()
    assert len(maps) == 1
    np.testing.assert_array_equal(maps[0].weights, model.A.detach().numpy())
    close(maps[0].gradient, model.A.grad.numpy())


def test_pytorchs_modules_and_shared_heads():
    x = npf.randn(2, 5, 8)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    with npf.debug.attention(layer) as maps:
        layer(x)
    assert [m.where for m in maps] == ["self_attn"]
    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    with npf.debug.attention(heads) as maps:
        _, weights = heads(x, x, x, average_attn_weights=False)
    np.testing.assert_array_equal(maps[""].weights, weights.detach().numpy())


def test_rollout_is_the_product():
    """R = Ā₂·Ā₁ with Ā = (mean over heads + 1)/2."""
    model = TinyTransformer(11, 6, 8, 2, 12, depth=3).double()
    with npf.debug.attention(model) as maps:
        model(npf.randint(0, 11, (2, 5)))
    R = maps.rollout()
    expected = np.eye(5)
    for m in maps:
        expected = (m.weights.mean(1) + np.eye(5)) / 2 @ expected
    close(R, expected)
    close(R.sum(-1), 1)
    close(maps.rollout(["blocks.0", "blocks.2"]),
          (maps[2].weights.mean(1) + np.eye(5)) / 2 @ ((maps[0].weights.mean(1) + np.eye(5)) / 2))


def test_entropy_and_distance_of_known_maps():
    class Known(nn.Module):
        """Head 0 looks at itself alone, head 1 at all places alike."""

        def forward(self, q):
            k = npf.stack([npf.eye(4) * 1e4, npf.zeros(4, 4)])[None]
            return F.scaled_dot_product_attention(q, k, q, scale=1.0)

    model = Known()
    with npf.debug.attention(model) as maps:
        model(npf.eye(4).expand(3, 2, 4, 4).clone().requires_grad_())
    close(maps[0].entropy, [0, math.log(4)], rtol=1e-6)
    close(maps[0].distance, [0, (3 + 2 + 2 + 3) * 2 / 16], rtol=1e-6)
    first, second = str(maps).splitlines()[1:3]
    assert first.split() == ["model", "0", "4", "x", "4", "0", "1.0", "0", "1", "-"]
    assert second.split() == ["model", "1", "4", "x", "4", "1.386", "4.0", "1.25", "0.25", "-"]


def test_a_query_that_sees_nothing_has_no_entropy():
    class Blind(nn.Module):
        def forward(self, q):
            mask = npf.tensor([[True, True], [False, False]])
            return F.scaled_dot_product_attention(q, q, q, mask)

    model = Blind()
    with npf.debug.attention(model) as maps:
        model(npf.zeros(1, 1, 2, 3, requires_grad=True))
    close(maps[0].entropy, [math.log(2)], rtol=1e-6)
    close(maps[0].distance, [0.5])


def test_what_is_no_attention_is_left_out():
    class Other(nn.Module):
        def forward(self, x):
            first = npf.softmax(x, 0) @ x.T                # over another dim
            return first.sum() + (x.softmax(-1) * x).sum()

    model = Other()
    with npf.debug.attention(model) as maps:
        model(npf.randn(3, 4, requires_grad=True))
        # Outside the model.
        npf.softmax(npf.randn(3, 3, requires_grad=True), -1) @ npf.randn(3, 3)
    assert len(maps) == 0 and str(maps).startswith("no attention was seen.")


def test_only_its_own_model_and_each_call():
    one, other = (TinyTransformer(11, 6, 8, 2, 12) for _ in range(2))
    ids = npf.randint(0, 11, (1, 4))
    with npf.debug.attention(one) as maps:
        one(ids)
        other(ids)
        one(ids)
    one(ids)
    assert [m.where for m in maps] == ["blocks.0", "blocks.0"] and maps["blocks.0"] is maps[1]


def test_the_pictures_are_drawn(tmp_path):
    model = TinyTransformer(11, 6, 8, 2, 12, depth=2)
    with npf.debug.attention(model) as maps:
        loss = model(npf.randint(0, 11, (2, 5))).sum()
    maps.plot(tmp_path / "weights.png", labels=list("abcde"))
    loss.backward()
    for part in ("gradient", "product"):
        maps.plot(tmp_path / f"{part}.png", part, batch=1)
    sizes = [p.stat().st_size for p in tmp_path.iterdir()]
    assert min(sizes) > 5_000 and len(sizes) == 3


def test_what_cannot_be_asked_is_worded(tmp_path):
    model = TinyTransformer(11, 6, 8, 2, 12, depth=2)
    with npf.debug.attention(model) as maps, npf.no_grad():
        model(npf.randint(0, 11, (1, 4)))
    with pytest.raises(npf.GraphError, match="no attention was seen.*\n.*not under no_grad"):
        maps.rollout()
    with npf.debug.attention(model) as maps:
        model(npf.randint(0, 11, (1, 4)))
    words = r"'blocks.0': no backward pass has reached it yet; call loss.backward\(\) first"
    with pytest.raises(npf.GraphError, match=words):
        _ = maps[0].product
    with pytest.raises(npf.GraphError, match="no backward pass has reached it"):
        maps.plot(tmp_path / "x.png", "gradient")
    with pytest.raises(npf.IndexRangeError, match="part must be one of weights, gradient, product"):
        maps.plot(tmp_path / "x.png", "colour")
    with pytest.raises(npf.IndexRangeError, match="batch"):
        maps.plot(tmp_path / "x.png", batch=7)
    words = "none of 'blocks.9'; there are blocks.0, blocks.1"
    with pytest.raises(npf.IndexRangeError, match=words):
        _ = maps["blocks.9"]
    with pytest.raises(npf.DTypeError, match=r"attention\(model\): model must be a Module"):
        npf.debug.attention("model")
    cross = make_model(9, 9, N=1, d_model=8, d_ff=12, h=2)
    with npf.debug.attention(cross) as maps:
        cross(npf.randint(1, 9, (1, 4)), npf.randint(1, 9, (1, 6)), None, None)
    words = r"(?s)self-attention of one length.*src_attn \(1, 2, 6, 4\).*Name those of one"
    with pytest.raises(npf.ShapeError, match=words):
        maps.rollout()
