"""pytest's fixtures `gradcheck` and `check_vjp`, installed with npformer.

    def test_my_softmax(check_vjp):
        check_vjp(softmax_forward, softmax_backward, [x])

They take what npf.gradcheck and npf.verify.check_vjp take; the seed is the test's own unless one is
given, so that a test draws the same numbers alone and among others. A wrong gradient fails the test
with the report.

This module stands beside the package because pytest loads it into every suite: npformer itself is
loaded when a test asks for a fixture.
"""

import importlib
import zlib

import pytest


@pytest.fixture
def gradcheck(request):
    """npf.gradcheck(fn, inputs, ...) with the test's own seed."""
    return seeded_check(request.node.nodeid, "gradcheck")


@pytest.fixture
def check_vjp(request):
    """npf.verify.check_vjp(forward, backward, inputs, ...) with the test's own seed."""
    return seeded_check(request.node.nodeid, "check_vjp")


def seeded_check(test, name):
    """The function of that name in npformer.verify, with a seed made of the test's id."""
    npformer = importlib.import_module("npformer")
    function = getattr(importlib.import_module("npformer.verify"), name)
    seed = zlib.crc32(test.encode())

    def check(*args, raises=True, **options):
        # the test's line is what its reader wants to see, not this one
        __tracebackhide__ = True
        report = function(*args, raises=False, **{"seed": seed, **options})
        if raises and not report:
            raise npformer.GradientError(report)
        return report

    return check
