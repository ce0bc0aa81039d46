"""Explaining: which mistake would give these numbers.

diagnose.py asks the recognisers of the other files in turn, each with one Evidence (evidence.py):
accumulation, factors, line_terms and elementwise_terms go by the numbers alone; paths and
wrong_rules by the graph of the forward pass, if traced_array.py could make one.
"""
