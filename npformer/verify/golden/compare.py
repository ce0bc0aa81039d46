"""Another engine's numbers held against a golden reference: the first that is wrong, and what is
wrong with it.

Only the first is explained. What comes after it is wrong because of it, or cannot be told from what
is. The diagnosis is that of every check (naming/): from the reference's graph npformer runs the
operations around the wrong tensor again, and so has a Jacobian for it.
"""

import difflib
import json
from dataclasses import dataclass, field

import numpy as np

from ...core.dtypes import float16, float32, float64
from ...core.errors import InputError, NpformerError
from ...core.numeric import true_gradient
from ...core.operation import REGISTRY
from ..findings import Finding
from ..naming.diagnose import diagnose
from ..naming.evidence import Evidence
from ..naming.forward import diagnose_forward
from .write import COMPUTED, FORMAT

# What each dtype may be off by, relative to a tensor's largest entry, beside the rounding that
# npformer measured at that tensor.
TOLERANCE = {float64: 1e-9, float32: 2e-5, float16: 2e-2}
ROUNDING = 20                                      # times that rounding may come from another order
                                                   # of additions, which is no mistake
LARGE = 4_000                                      # entries of a tensor for which a Jacobian is
                                                   # made


@dataclass
class Difference:
    """One tensor that differs: the largest difference, where it is, and how many entries differ."""

    name: str
    shape: tuple
    worst: float
    index: tuple
    yours: float
    reference: float
    differ: int
    size: int

    def __str__(self):
        if not self.index and self.shape:
            return f"{self.name}: its shape is {self.shape}"
        return (f"{self.name} {self.shape}: {self.differ} of {self.size} entries differ; the worst "
                f"at {self.index}: yours {self.yours:.8g}, the reference {self.reference:.8g}")


@dataclass
class Verdict:
    """What a comparison found; true if all tensors that could be compared agree.

    compared: names, in the order in which they were looked at. missing: of the reference's, those
    that you do not give. unknown: of yours, those that the reference has not. first: the first
    Difference. findings: what is wrong there. agree: how many of the tensors before it agree.
    later: how many after it differ too. made_by: the operation there, in words.
    """

    compared: list
    missing: list
    unknown: list
    first: Difference | None = None
    findings: list = field(default_factory=list)
    later: int = 0
    agree: int = 0
    made_by: str = ""

    def __bool__(self):
        return self.first is None

    def __str__(self):
        lines = [f"tensors compared: {len(self.compared)} (of the reference's, {len(self.missing)} "
                 "are not given)"]
        if self.unknown:
            known = [*self.compared, *self.missing]
            close = (difflib.get_close_matches(name, known, n=1) for name in self.unknown[:3])
            meant = [f"{name}{f' (is it {near[0]}?)' if near else ''}"
                     for name, near in zip(self.unknown, close)]
            lines.append(f"  {len(self.unknown)} of yours are not in the reference: "
                         f"{', '.join(meant)}{', ...' if len(self.unknown) > 3 else ''}")
        if self.first is None:
            return "\n".join([*lines, "  all agree"])
        part = "backward" if self.first.name.startswith("gradient.") else "forward"
        lines += [f"  {self.agree} agree; the first that is wrong, in the {part} pass, is",
                  f"  {self.first}"]
        lines += [f"  {self.made_by}"] if self.made_by else []
        for finding in self.findings:
            lines += [f"  {finding}", *(f"    {formula}" for formula in finding.hints[2:])]
        if self.later:
            lines.append(f"  of those computed after it, {self.later} differ too; mend this one "
                         "first")
        return "\n".join(lines)


def compare(mine, reference, metadata, tolerance=None):
    """The Verdict on `mine` (NumPy arrays by name) beside a golden reference (arrays by name, and
    its metadata).

    What the engine is given (inputs, weights) comes first, then the forward pass in its order, then
    the backward pass in its own. tolerance: what a tensor may be off by, relative to its largest
    entry; from its dtype if None.

    Raises InputError where the reference is none, or no name is in both.
    """
    plan = Plan(reference, metadata)
    order = plan.order()
    known = [name for name in order if name in mine]
    missing = [name for name in order if name not in mine and name.startswith(COMPUTED)]
    verdict = Verdict(known, missing, sorted(set(mine) - set(order)))
    if not known:
        raise InputError("no tensor has a name that the reference has.\n"
                         f"  The reference's begin: {', '.join(order[:3])}, ...\n"
                         f"  Yours: {', '.join(sorted(mine)[:3]) or 'there are none'}")
    for name in known:
        rounding = plan.rounding.get(name, 0.0)
        difference, a, allowed = compare_tensor(
            name, mine[name], reference[name], rounding, tolerance)
        if difference is None:
            verdict.agree += verdict.first is None
        elif verdict.first is None:
            verdict.first, verdict.made_by = difference, plan.describe_maker(name, known)
            verdict.findings = plan.findings(name, a, allowed)
        else:
            verdict.later += 1
    return verdict


def compare_tensor(name, a, n, rounding, tolerance):
    """(Difference or None, a in n's shape, what it may be off by). rounding: how far a pass in
    float32 was off here. A fixed tolerance alone is wrong at both ends: where much cancels, a right
    engine in float32 is off by more; where nothing does, a GELU that is right to three digits would
    pass with one that is wide enough for the rest."""
    a = np.asarray(a)
    scale = float(np.abs(n).max(initial=0)) if n.dtype.kind == "f" else 0.0
    relative = TOLERANCE.get(a.dtype, TOLERANCE[float32]) if tolerance is None else tolerance
    coarseness = 1.0                               # beside float32, in which rounding was measured
    if a.dtype.kind == "f":
        coarseness = max(np.finfo(a.dtype).eps / np.finfo(float32).eps, 1e-9)
    allowed = relative * scale + ROUNDING * rounding * coarseness
    if a.ndim == 1 and a.size == n.size:           # an engine that knows no shapes
        a = a.reshape(n.shape)
    if a.shape != n.shape:
        return Difference(name, a.shape, np.inf, (), np.nan, np.nan, n.size, n.size), a, allowed
    off = np.abs(a.astype(float64) - n.astype(float64))
    wrong = ~(off <= allowed)                      # NaN is wrong too
    if not wrong.any():
        return None, a, allowed
    k = int(np.where(np.isnan(off), np.inf, off).argmax())
    index = tuple(int(i) for i in np.unravel_index(k, n.shape))
    difference = Difference(name, n.shape, float(off[index]), index, float(a[index]),
                            float(n[index]), int(wrong.sum()), n.size)
    return difference, a.astype(float64), allowed


class Plan:
    """What a reference says of its tensors: their order, and which operations use them."""

    def __init__(self, reference, metadata):
        if metadata.get("format") != FORMAT:
            raise InputError("the reference is no file of `npformer golden`: its metadata should "
                             f"say format {FORMAT!r}, it says {metadata.get('format')!r}.\n  The "
                             "reference comes second: npformer compare MINE REF.")
        try:
            self.graph, self.backward, self.rounding = (
                json.loads(metadata[key]) for key in ("graph", "backward", "rounding"))
            self.steps = {step["name"]: step for step in self.graph}
            self.used_by = {}
            for step in self.graph:
                for argument, name in step["inputs"].items():
                    if isinstance(name, str):
                        self.used_by.setdefault(name, []).append((step, argument))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the reference's metadata is damaged ({error!r}); write it anew.") from None
        self.reference = reference
        if not set(self.order()) <= set(reference):
            raise InputError("the reference lacks tensors that its metadata names; write it anew.")

    def order(self):
        """All names in the order in which a mistake shows: given, forward, backward."""
        computed = [*self.steps, *self.backward]
        given = [name for name in self.reference if name not in set(computed)]
        return [*given, *computed]

    def describe_maker(self, name, known):
        if name in self.steps:
            step = self.steps[name]
            return f"it comes out of {step['op']}({', '.join(step['inputs'])}): {step['formula']}"
        users = self.used_by.get(name.removeprefix("gradient."), ())
        if not name.startswith("gradient.") or not users:
            return "it is given, not computed: use the reference's own inputs and weights"
        words = []
        for step, argument in users:
            arrives = "1" if step["name"] == "loss" else f"gradient.{step['name']}"
            have = "" if arrives == "1" or arrives in known else ", which you do not give"
            words.append(f"d{argument} of {step['op']} ({step['formula']}) from {arrives}{have}")
        return "it is " + "\n      plus ".join(words)

    # ── diagnosis ─────────────────────────────────────────────────────────────────────────────────

    def findings(self, name, a, allowed):
        n = self.reference[name]
        if a.shape != n.shape:
            text = f"yours has shape {a.shape}, the reference {n.shape}"
            fits = a.ndim == 2 and a.shape == n.shape[::-1]
            if fits and np.abs(a.T - n).max(initial=0) <= allowed:
                return [Finding("transposed", name, f"{text}: yours is its transpose")]
            return [Finding("shape", name, text)]
        if not np.isfinite(a).all():
            count = int((~np.isfinite(a)).sum())
            return [Finding("nan", name,
                            f"yours holds NaN or infinity in {count} of {a.size} entries")]
        if not name.startswith("gradient."):
            return diagnose_forward(name, a, n, allowed)
        lost = self.lost_path(name, a, allowed)
        return [lost] if lost else diagnose(self.evidence(name, a, allowed))

    def lost_path(self, name, a, allowed):
        """The finding on a tensor of which one use was left out or counted twice."""
        plain = name.removeprefix("gradient.")
        uses = list(dict.fromkeys(step["name"] for step, _ in self.used_by[plain]))
        if len(uses) < 2 or self.reference[plain].size > LARGE:
            return None
        n, parts = self.reference[name], [self.slopes(plain, [use]) for use in uses]
        if None in parts:
            return None
        slack = allowed + 1e-6 * np.abs(n).max(initial=0)
        for use, (jacobian, g) in zip(uses, parts):
            part = (g @ jacobian).reshape(n.shape)
            for kind, expected, words in (("path-missing", n - part, "is left out"),
                                          ("path-doubled", n + part, "is counted twice")):
                near = np.abs(a - expected).max(initial=0) <= slack
                if near and np.abs(part).max(initial=0) > 10 * allowed:
                    return Finding(kind, plain, (
                        f"{plain} is used by {', '.join(uses)}; what comes back from {use} "
                        f"{words}"))
        return None

    def evidence(self, name, a, allowed):
        """What `diagnose` goes by: the operations that use the tensor, run again by npformer. Used
        by one operation, the tensor is that operation's argument, with its other inputs by name, as
        if that one alone were checked. Used by several, their outputs are laid end to end as one
        output, and only what needs no names can be said."""
        plain = name.removeprefix("gradient.")
        x, n = self.reference[plain], self.reference[name]
        steps = list({step["name"]: step for step, _ in self.used_by[plain]}.values())
        found = self.slopes(plain, [step["name"] for step in steps]) if x.size <= LARGE else None
        jacobian, g = found if found else (None, np.zeros(1))
        label, y, inputs = plain, g, {plain: x}
        if found and len(steps) == 1:
            label, y = self.used_by[plain][0][1], self.reference[steps[0]["name"]]
            g = g.reshape(y.shape)
            inputs = {key: self.value(v) for key, v in steps[0]["inputs"].items()}
            inputs |= steps[0]["options"]
        return Evidence(label, x, a, n, np.full(n.shape, allowed / 10), g, y, jacobian, inputs)

    def slopes(self, plain, names):
        """(Jacobian of those operations' outputs, laid end to end, in the tensor `plain`; what
        arrives there); None where an operation cannot be run again."""
        steps = [self.steps[name] for name in names]
        if any(step["op"] not in REGISTRY for step in steps):
            return None
        x = self.reference[plain].copy()

        def forward(inputs):
            outputs = []
            for step in steps:
                args = [inputs[0] if v == plain else self.value(v) for v in step["inputs"].values()]
                options = {key: read_option(v) for key, v in step["options"].items()}
                outputs.append(np.ravel(REGISTRY[step["op"]].compute(*args, **options)))
            return np.concatenate(outputs)

        g = np.concatenate([np.ones(1) if name == "loss"
                            else self.reference[f"gradient.{name}"].reshape(-1) for name in names])
        outputs = np.concatenate([self.reference[name].reshape(-1) for name in names])
        try:
            if not np.allclose(forward([x]), outputs, rtol=1e-9, atol=1e-12):
                return None                        # a reference that another version wrote, say
            truth = true_gradient(forward, [x], 0, g, np.arange(x.size))
        except (NpformerError, TypeError, ValueError, IndexError, KeyError):
            return None                            # an option that JSON could not hold
        return None if truth.jacobian is None else (truth.jacobian, g)

    def value(self, name):
        """An operation's input: an array by name, or the number itself."""
        if isinstance(name, dict):
            return float(name["text"])
        return self.reference[name] if isinstance(name, str) else name


def read_option(value):
    if isinstance(value, dict):
        return ... if value == {"text": "Ellipsis"} else slice(*value["slice"])
    return tuple(read_option(v) for v in value) if isinstance(value, list) else value
