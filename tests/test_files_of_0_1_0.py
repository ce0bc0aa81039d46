"""Traces and checkpoints that version 0.1.0 wrote still load, and say what they said. tests/files
holds three of them."""

import pathlib

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn, optim

FILES = pathlib.Path(__file__).parent / "files"


class Block(nn.Module):
    """The model that was traced and trained: x + F(x)."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        return x + F.gelu(self.linear(self.norm(x)))


def test_a_trace_repeats_itself_bit_for_bit():
    trace = npf.debug.Trace.load(FILES / "whole_trace_0_1_0.safetensors")
    assert [step.op for step in trace] == ["cross_entropy", "add", "gelu", "linear", "layer_norm"]
    assert trace.title == "Block" and trace.replay() == 22
    assert trace.find("norm.weight").line is None and trace[3].source == ("model.py", 17)
    record, = npf.debug.residuals(trace.output)
    np.testing.assert_array_equal(record.total, trace.gradient("x"))


def test_a_trace_with_summaries_and_a_users_function():
    trace = npf.debug.Trace.load(FILES / "trace_0_1_0.safetensors")
    assert len(trace) == 17 and "2 arrays were too large to keep" in repr(trace)
    assert "too large to keep" in repr(trace.find("big").value)
    double = next(step for step in trace if step.op == "Double")
    np.testing.assert_array_equal(double.gradients["x"], 2 * double.upstream)
    assert "the mask takes b" in str(trace.why_zero(double.name))


def test_a_trace_that_was_loaded_is_written_as_it_was(tmp_path):
    trace = npf.debug.Trace.load(FILES / "trace_0_1_0.safetensors")
    trace.save(tmp_path / "again.safetensors")
    assert npf.debug.Trace.load(tmp_path / "again.safetensors").diff(trace) is None
    assert "<svg" in trace.to_html() or "<script" in trace.to_html()


def test_a_checkpoint_goes_on():
    found = npf.load(FILES / "checkpoint_0_1_0.safetensors")
    model = Block()
    model.load_state_dict(found["model"])
    optimizer = optim.AdamW(model.parameters(), lr=0.5)
    optimizer.load_state_dict(found["optimizer"])
    assert found["step"] == 2 and optimizer.param_groups[0]["lr"] == 0.1
    npf.default_generator.set_state(found["generator"])
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(model(npf.ones(3, 4)), npf.tensor([0, 3, 3]))
        losses.append(float(loss.item()))
        loss.backward()
        optimizer.step()
    # as 0.1.0 went on
    assert losses == pytest.approx([1.1575475931167603, 1.092377781867981], rel=1e-6)
