"""The probes: six questions about a backward pass, each one call. Print the answer for a table;
`.plot(path)` draws it.

`residual` finds the additions y = x + F(x); `lengths` and `spectrum` use it. `flow` and `attention`
watch a model while it runs (`watching`). `anomaly` stops at the first NaN.
"""
