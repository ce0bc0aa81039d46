"""Scope: which module's forward is running, for the nodes that it records."""


class Scope:
    """Which module's forward is running, for the nodes that it records.

    It keeps no module alive.
    """

    __slots__ = ("root", "module")

    def __init__(self, root, module):
        self.root, self.module = root, module

    def path(self):
        """The module's dotted name inside the outermost module that was called;
        '' for that one itself."""
        root, module = self.root(), self.module()
        if root is None or module is None:
            return ""
        names = (name for name, m in root.named_modules() if m is module)
        return next(names, type(module).__name__)
