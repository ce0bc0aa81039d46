"""Traces: how one forward and backward pass is recorded, kept, replayed, changed and asked."""
