"""How a case of tests/verify/test_strangers.py and test_strange_losses.py is written, and judged.

A case is a forward and a backward in plain NumPy; the backward takes `slip`, and where that is true
it makes one mistake.
"""

from functools import partial

import numpy as np

import npformer as npf


class Cases(dict):
    """Cases by name: (forward, backward, kinds, draws)."""

    def stranger(self, *kinds, **draws):
        """Note a case: `make()` gives (forward, backward); kinds are what its slip may be called,
        the best first."""
        def note(make):
            self[make.__name__] = (*make(), kinds, draws)
        return note

    def judged(self, name, slip, seed=0):
        """The judge's report on a case."""
        forward, backward, _, draws = self[name]
        rng = np.random.default_rng(seed)
        inputs = [draw(rng) for draw in draws.values()]
        return npf.verify.check_vjp(forward, partial(backward, slip=slip), inputs,
                                    names=list(draws), raises=False)

    def check_right(self, name):
        """The right backward passes, at several points."""
        for seed in range(3):
            report = self.judged(name, False, seed)
            assert report and not report.findings, report

    def check_slip(self, name):
        """The slip is caught, and called what it is."""
        report = self.judged(name, True)
        assert not report
        assert report.wrong[0].kind in self[name][2], report


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def total(x):
    return x.sum(-1, keepdims=True)


def mean(x):
    return x.mean(-1, keepdims=True)
