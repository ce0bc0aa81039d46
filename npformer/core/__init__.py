"""The floor that everything stands on: errors, arrays, operations, and the one backward walk."""
