"""Traces: how one forward and backward pass is recorded, kept, replayed, changed and asked.

Reading order: `nodes` (what a trace is made of), `recorder` (copies while a program runs),
`trace` (the Trace and how it is linked), `recording` (what users call), `replay` (the check that
a trace repeats itself), then what asks it: `ledger`, `why`, `diff`, `rerun`, `mistakes`, `file`.
"""
