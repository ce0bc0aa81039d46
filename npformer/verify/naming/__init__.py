"""Explaining: which mistake would give these numbers."""
