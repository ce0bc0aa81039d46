"""Measuring: what a backward pass answers, and what finite differences answer."""
