"""PyTorch's torch.backends, where programs switch things on and off at their top: what there is to
switch here.

Results are deterministic and no kernels are tried out: `cudnn.deterministic` and `cudnn.benchmark`
change nothing.
"""

from types import SimpleNamespace

from .cuda import is_available


def never() -> bool:
    """False"""
    return False


cuda = SimpleNamespace(is_built=is_available, matmul=SimpleNamespace(allow_tf32=False))
cudnn = SimpleNamespace(deterministic=True, benchmark=False, enabled=False, allow_tf32=False,
                        is_available=never)
mps = SimpleNamespace(is_available=never, is_built=never)
