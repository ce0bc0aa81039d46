"""The operations, a topic a file. Each stands with its formula, its gradient rule and its samples
in one place."""
