"""Measuring: what a backward pass answers, and what finite differences answer.

judge.py makes a verdict out of the others: subject.py (what is judged), vacuous_points.py (where),
properties.py (without a true gradient), by_direction.py and by_entry.py (with one).
"""
