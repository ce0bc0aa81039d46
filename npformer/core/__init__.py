"""The floor that everything stands on: errors, arrays, operations, and the tape with its one
backward walk."""
