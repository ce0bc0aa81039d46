"""What every viewer shows of a trace, and how: frames, statistics, source text, pictures, tables."""
