"""What every viewer shows of a trace, and how: frames, conditions, statistics, source, pictures.

Nothing here knows a screen; only `notebook`, itself a viewer, writes HTML.
"""
