"""The probes: six questions about a backward pass, each one call. Print the answer for a table; `.plot(path)` draws it."""
