"""The Vision Transformer against one written in PyTorch, with the attention's maps and their
gradients."""

import numpy as np
import pytest

import npformer as npf
from npformer import nn, optim
from npformer.core.errors import GraphError, ShapeError, ValueRangeError
from npformer.models import VisionTransformer
from npformer.models.vit import Attention, Mlp, PatchEmbed, relevance
from npformer.nn import functional as F

OPTIONS = dict(img_size=(6, 9), patch_size=3, in_chans=2, num_classes=5, embed_dim=12,
               depth=2, num_heads=3, mlp_ratio=2.0)


def pair(torch):
    """(ours, PyTorch's) with the same weights."""
    from models_torch import ViT, give_equal_weights

    torch.manual_seed(0)
    theirs = ViT(7, 3, 2, 5, 12, 2, 3, 24).double()
    return give_equal_weights(VisionTransformer(**OPTIONS).double(), theirs)


def images(batch=4, seed=0):
    """Images (batch, 2, 6, 9), and for each a class that can be told from it."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, 2, 6, 9))
    return x, (x[:, 0, :2, :2].mean(axis=(1, 2)) > 0) + 2 * (x[:, 1, 3:, 6:].mean(axis=(1, 2)) > 0)


def close(mine, theirs, name=""):
    scale = theirs.abs().max().item()
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-9,
                               atol=1e-9 * scale + 1e-16, err_msg=name)


def test_logits_gradients_and_what_the_hook_keeps_are_pytorchs(torch):
    ours, theirs = pair(torch)
    x, y = images()
    logits, expected = ours(npf.tensor(x), register_hook=True), theirs(torch.tensor(x))
    close(logits, expected)
    loss = F.cross_entropy(logits, npf.tensor(y))
    loss.backward()
    other = torch.nn.functional.cross_entropy(expected, torch.tensor(y))
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-9)
    wanted = dict(theirs.named_parameters())
    assert set(wanted) == {name for name, _ in ours.named_parameters()}
    for name, p in ours.named_parameters():
        close(p.grad, wanted[name].grad, name)
    for mine, block in zip(ours.blocks, theirs.blocks):
        close(mine.attn.attention_map, block.attn.map)
        close(mine.attn.attn_gradients, block.attn.map.grad)


def test_training_follows_pytorchs_for_50_steps(torch):
    ours, theirs = pair(torch)
    mine = optim.AdamW(ours.parameters(), lr=3e-3)
    other = torch.optim.AdamW(theirs.parameters(), lr=3e-3)
    losses, expected = [], []
    for step in range(50):
        x, y = images(8, seed=step % 5)
        loss = F.cross_entropy(ours(npf.tensor(x)), npf.tensor(y))
        mine.zero_grad()
        loss.backward()
        mine.step()
        losses.append(loss.item())
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        other.zero_grad()
        loss.backward()
        other.step()
        expected.append(loss.item())
    assert expected[-1] < 0.5 * expected[0]        # it learned: equal losses say something
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_the_convolution_is_one_linear_layer_for_all_patches():
    layer = PatchEmbed((6, 9), 3, 2, 5).double()
    x = npf.tensor(images()[0])
    patches = np.stack([x.numpy()[:, :, i:i + 3, j:j + 3].reshape(4, -1)
                        for i in (0, 3) for j in (0, 3, 6)], axis=1)
    weight, bias = layer.proj.weight.detach().numpy(), layer.proj.bias.detach().numpy()
    by_hand = patches @ weight.reshape(5, -1).T + bias
    np.testing.assert_allclose(layer(x).detach().numpy(), by_hand, rtol=1e-12, atol=1e-13)


def test_the_hook_keeps_and_does_not_change():
    npf.manual_seed(0)
    layer, x = Attention(12, 3).double(), npf.randn(2, 5, 12, dtype=npf.float64)
    g, gradients = npf.randn(2, 5, 12, dtype=npf.float64), []
    for hook in (False, True):
        layer.zero_grad()
        layer(x, register_hook=hook).backward(g)
        gradients.append(layer.qkv.weight.grad.clone())
        assert (layer.attn_gradients is not None) == hook
    assert npf.equal(*gradients)
    assert layer.attention_map.shape == layer.attn_gradients.shape == (2, 3, 5, 5)
    with npf.no_grad():
        layer(x, register_hook=True)               # the map alone: no gradient will come
    assert layer.attention_map is not None and layer.attn_gradients is None


def test_scale_bias_and_dropout_are_options():
    npf.manual_seed(0)
    layer, x = Attention(8, 2, qk_scale=1e-12, attn_drop=0.4), npf.randn(3, 6, 8)
    assert layer.qkv.bias is None and Attention(8, 2, qkv_bias=True).qkv.bias is not None
    layer(x, register_hook=True)
    assert 0.2 < (layer.attention_map == 0).float().mean() < 0.6
    layer.eval()
    layer(x, register_hook=True)
    assert npf.allclose(layer.attention_map, npf.full((3, 2, 6, 6), 1 / 6))
    mlp = Mlp(4, 7, 3, act_layer=nn.ReLU, drop=0.5).eval()
    assert npf.equal(mlp(x[..., :4]), mlp.fc2(F.relu(mlp.fc1(x[..., :4]))))
    assert Mlp(4)(x[..., :4]).shape == (3, 6, 4)


def test_relevance_is_its_formula():
    npf.manual_seed(0)
    model = VisionTransformer(**OPTIONS).double()
    logits = model(npf.tensor(images()[0]), register_hook=True)
    logits[:, 3].sum().backward()
    R = relevance(model).numpy()
    for n in range(4):
        by_hand = np.eye(7)
        for block in model.blocks:
            weights, gradients = block.attn.attention_map.detach(), block.attn.attn_gradients
            product = weights.numpy()[n] * gradients.numpy()[n]
            by_hand = by_hand + np.where(product > 0, product, 0).mean(axis=0) @ by_hand
        np.testing.assert_allclose(R[n], by_hand, rtol=1e-12)
    assert (R[:, 0, 1:] > 0).any()


def test_relevance_runs_on_the_gpus_arrays(cupy):
    npf.manual_seed(0)
    model, found = VisionTransformer(**OPTIONS).double(), []
    for device in ("cpu", "cuda"):
        model.to(device)
        model(npf.tensor(images()[0]).to(device), register_hook=True)[:, 3].sum().backward()
        R = relevance(model)
        assert R.device.type == device
        found.append(R.cpu().numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_mistakes_are_worded():
    model = VisionTransformer(**OPTIONS)
    with pytest.raises(ShapeError,
                       match=r"x must be \(batch, channels, height, width\) = \(B, 2, 6, 9\)"):
        model(npf.zeros(2, 6, 9))
    with pytest.raises(ShapeError, match="PatchEmbed"):
        model(npf.zeros(1, 2, 9, 6))
    with pytest.raises(ValueRangeError, match="patches must fill the image"):
        PatchEmbed(10, 4)
    with pytest.raises(ValueRangeError, match="dim must be a multiple of num_heads"):
        VisionTransformer(**{**OPTIONS, "num_heads": 5})
    with pytest.raises(ValueRangeError, match="depth must be an integer >= 1"):
        VisionTransformer(**{**OPTIONS, "depth": 0})
    with pytest.raises(GraphError, match="no attention gradients are kept"):
        relevance(model)
    model(npf.zeros(1, 2, 6, 9), register_hook=True)
    with pytest.raises(GraphError, match="no attention gradients are kept"):
        relevance(model)
