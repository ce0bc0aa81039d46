"""What a check says: a Report of Comparisons (the numbers) and Findings (what they mean).

Each finding is of one of the KINDS below, a closed list: programs, tests and docs/verify.md go by
it. The lowest file of this package; looking/ and naming/ make what stands here.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.errors import ValueRangeError


class Kind(NamedTuple):
    """What a kind of finding says of the gradient, and the formula that mends it; {x} is the
    input."""

    says: str
    formula: str


# Every kind that a finding can have. The gradient under test is a, the true one n.
KINDS = {
    "shape": Kind(
        "a has another shape than the input, or there is not one gradient for each input",
        "d{x}.shape = {x}.shape: g summed over what was broadcast or repeated, zeros where {x} "
        "was cut"),
    "dtype": Kind("a has another dtype than the input", "d{x} = d{x}.astype({x}.dtype)"),
    "nan": Kind(
        "a holds NaN or infinity where n is finite",
        "d{x} = np.where(used, g · dy/d{x}, 0), with no 0/0 and no log 0 where {x} is not used"),
    "mutates": Kind(
        "the backward pass writes into an input, a saved array or the upstream gradient",
        "d{x} = g * dy/d{x}, in an array of its own: not g *= ..., nor out=g"),
    "aliases": Kind(
        "a shares its memory with an input or with another gradient",
        "d{x} = g.copy()"),
    "not-repeatable": Kind(
        "the same backward pass gives another result the second time",
        "d{x} = a function of g and of what the forward pass saved: the same mask, = and not +="),
    "ignores-upstream": Kind("a does not depend on the upstream gradient g", "d{x} = g · dy/d{x}"),
    "nonlinear": Kind(
        "a is not linear in g",
        "d{x} = g · dy/d{x}, where dy/d{x} is made of {x} and y, never of g"),
    "zero": Kind(
        "a is zero where n is not: the path is cut",
        "d{x} = g · dy/d{x}, summed over all outputs that {x} reaches"),
    "sign": Kind("a is −n", "d{x} = −(what you have)"),
    "factor": Kind("a is n times a constant", "d{x} = (what you have) / the constant"),
    "transposed": Kind("a is n transposed", "y = a@b: da = g@bᵀ, db = aᵀ@g"),
    "permuted": Kind(
        "a has n's values in other places",
        "y = {x}.transpose(p): d{x} = g.transpose(np.argsort(p))"),
    "unsummed-broadcast": Kind(
        "the input was broadcast, and a was not summed back to its shape",
        "d{x} = (g · dy/d{x}).sum(the dims that were broadcast)"),
    "averaged-broadcast": Kind(
        "the input was broadcast, and a is the mean over its uses, not the sum",
        "d{x} = (g · dy/d{x}).sum(the dims that were broadcast), not .mean"),
    "not-accumulated": Kind(
        "an entry is used several times, and a has the gradient of one use only",
        "d{x} = Σ over the uses of {x}: d{x} += ..., or np.add.at(d{x}, where, ...)"),
    "path-missing": Kind(
        "one of several paths from the input to the output is left out",
        "y = u({x}) + v({x}): d{x} = g · du/d{x} + g · dv/d{x}"),
    "path-doubled": Kind(
        "one of several paths is counted twice",
        "y = u({x}) + v({x}): d{x} = g · du/d{x} + g · dv/d{x}, each once"),
    "missing-factor": Kind(
        "a lacks a factor that is an array: an input, the output, or made of them",
        "y = u · v: du = g · v; y = f(u): du = g · f'(u)"),
    "extra-factor": Kind(
        "a has a factor too many that is an array",
        "y = u · v: du = g · v; y = f(u): du = g · f'(u)"),
    "diagonal-jacobian": Kind(
        "a uses the diagonal of the Jacobian alone",
        "d{x}ᵢ = Σₖ gₖ · dyₖ/d{x}ᵢ, not gᵢ · dyᵢ/d{x}ᵢ alone"),
    "missing-term": Kind(
        "n is a sum of terms, and a lacks one",
        "y = u({x}) · v({x}): d{x} = g · (v · du/d{x} + u · dv/d{x})"),
    "wrong-coefficient": Kind(
        "n is a sum of terms, and one of them has another coefficient in a",
        "y = u({x}) · v({x}): d{x} = g · (v · du/d{x} + u · dv/d{x}), each term with coefficient "
        "1"),
    "mask-ignored": Kind(
        "a does not stop where a mask stops the forward pass, and is wrong elsewhere for it",
        "y = np.where(mask, u, c): du = np.where(mask, g, 0)"),
    "mask-leak": Kind(
        "gradient reaches entries that the forward pass does not use",
        "d{x} = np.where(used, g · dy/d{x}, 0), used as in the forward pass; for relu, {x} > 0"),
    "only-at-ties": Kind(
        "a differs only where entries tie",
        "y = max {x}: d{x} = g · tie / Σ tie, tie = ({x} == y)"),
    "kink": Kind(
        "a differs only where the function has a kink: any value between the two slopes may be "
        "meant",
        "at a kink, d{x} = g · c for any c between the slopes to the left and to the right"),
    "missing-eps": Kind(
        "a leaves out a small constant that the forward pass has, or puts it elsewhere",
        "r = 1/√(variance + eps) in d{x} as in y: keep the forward pass's r"),
    "wrong-axis": Kind(
        "a is summed or averaged over another axis than the forward pass",
        "y = Σ {x} over some dims: d{x} = g, spread over the same dims; y = {x} spread: d{x} = Σ "
        "g over those"),
    "stale-value": Kind(
        "a is the gradient at other values than those of the forward pass",
        "y = f({x}): d{x} = g · f'({x}), at the {x} of the forward pass, kept or computed again"),
    "precision": Kind(
        "a is right but for rounding far above its dtype's",
        "d{x} = g · dy/d{x} with every array in between in {x}'s dtype: no np.float32(...)"),
    "unexplained": Kind(
        "a is wrong in a way that none of the others describes; where and how much is said",
        "d{x}ᵢ = Σₖ gₖ · dyₖ/d{x}ᵢ: undo the operations of the forward pass one by one, the last "
        "first"),
    "vacuous": Kind(
        "this test point hides mistakes: a wrong gradient could have passed",
        "another {x}: entries all different, of both signs, no dim of size 1, indices that repeat"),
}

SHOWN = 14                                         # lines of comparisons in a printed report


def sum_in_words(words, coefficients=None):
    """Terms as one sum, with their coefficients; c for one that is not known: "2·g − c·y"."""
    text = ""
    for word, c in zip(words, coefficients if coefficients is not None else [None] * len(words)):
        if c is not None and c < 0:
            sign = " − " if text else "−"
        else:
            sign = " + " if text else ""
        size = "c·" if c is None else "" if abs(abs(c) - 1) < 1e-5 else f"{abs(c):.4g}·"
        word = f"({word})" if " " in word.split("(")[0] else word
        text += sign + size + word
    return text


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    kind: one of KINDS. input: the name of the input whose gradient it is about, '' for the whole
    pass. message: a sentence with the numbers in it. detail: numbers for programs. certainty:
    "certain" (equal to within the noise), "likely" (consistent with it), or "possible". hints:
    where it is wrong; which rule is broken; the formula.
    """

    kind: str
    input: str
    message: str
    detail: dict = field(default_factory=dict, compare=False)
    certainty: str = "certain"
    hints: tuple[str, ...] = ()

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"Finding: {self.kind!r} is no kind; the kinds are {', '.join(KINDS)}")

    def __str__(self):
        sure = "" if self.certainty == "certain" else f" ({self.certainty})"
        return f"{self.kind}{sure}: {self.message}"

    def hint(self, tier: int) -> str:
        """The hint of a tier, 1 to 3: where, which rule, the formula. A finding that has no hint of
        its own for a tier has that of its kind."""
        kind = KINDS[self.kind]
        of_kind = (f"look at d{self.input}" if self.input else "look at the whole pass",
                   kind.says, kind.formula.format(x=self.input or "x"))
        return (*self.hints, *of_kind[len(self.hints):])[tier - 1]


@dataclass
class Comparison:
    """One input's gradient held against the true one: how many numbers were compared, and which
    of them is off most."""

    name: str
    shape: tuple
    entries: int                                   # how many entries, or directions, were compared
    worst: float                                   # the largest |difference|
    scale: float                                   # the largest |entry| of either gradient
    noise: float                                   # the error of the true gradient, estimated
    ok: bool
    index: tuple = ()                              # where the worst is; () if it is a direction
    analytic: float = 0.0
    numeric: float = 0.0
    how: str = "entries"                           # or "directions", for inputs that are too large
    witness: str = "finite differences say"        # before the true value
    label: str = ""                                # what it is, if it is no gradient

    def __str__(self):
        mark, name = "ok   " if self.ok else "WRONG", self.label or f"d{self.name}"
        every = self.how == "entries" and self.entries == math.prod(self.shape)
        part = "" if every else f" ({self.entries} {self.how} drawn)"
        text = (f"  {mark} {name} {self.shape}{part}: largest error {self.worst:.1e}, beside a "
                f"largest entry of {self.scale:.1e}")
        if self.ok:
            return text
        whose = "yours is" if self.label else "backward says"
        return (f"{text}\n         worst at {self.index}: {whose} {self.analytic:.10g}, "
                f"{self.witness} {self.numeric:.10g}")


@dataclass
class Report:
    """What a check found. True if every gradient is right and the test point could have shown it;
    prints as a page.

    subject: what was checked. comparisons: a line for each input. findings: what is wrong, the most
    telling first, and last what the test point could not show ("vacuous").
    """

    subject: str
    comparisons: list[Comparison]
    findings: list[Finding] = field(default_factory=list)

    def __bool__(self):
        harmless = (f.kind == "kink" or f.kind == "vacuous" and f.certainty == "possible"
                    for f in self.findings)
        return all(c.ok for c in self.comparisons) and all(harmless)

    @property
    def wrong(self) -> list[Finding]:
        """The findings that say that something is wrong. "vacuous" only says that something might
        be, "kink" that several values are right."""
        return [f for f in self.findings if f.kind not in ("vacuous", "kink")]

    def __str__(self):
        findings = [f"  {finding}" for finding in self.findings]
        return "\n".join([f"{self.subject}: {self._headline()}", *self._lines(), *findings])

    def _headline(self):
        wrong = [f"{c.label} is wrong" for c in self.comparisons if not c.ok and c.label]
        gradients = [c.name for c in self.comparisons if not c.ok and not c.label]
        if gradients:
            wrong.append(f"gradients of {', '.join(gradients)} are wrong")
        if wrong:
            return " and ".join(wrong)
        if self.wrong:
            return "the values are right, but not the pass"
        if not self:
            return "nothing wrong was seen, but this test point hides mistakes"
        count = sum(not c.label for c in self.comparisons)
        if count:
            return f"{count} gradients are right"
        return f"right: {', '.join(c.label for c in self.comparisons)}"

    def _lines(self):
        """A line for each comparison; of many, the right ones in one line, so that a report fits
        on a screen."""
        if len(self.comparisons) <= SHOWN:
            return [str(c) for c in self.comparisons]
        right = [c for c in self.comparisons if c.ok]
        worst = max((c.worst / max(c.scale, 1e-300) for c in right if c.scale > 1e-12), default=0.0)
        return [str(c) for c in self.comparisons if not c.ok][:SHOWN] + [
            f"  ok    {len(right)} gradients, {sum(c.entries for c in right)} entries looked at; "
            f"largest error {worst:.1e} of an input's largest entry"]

    def hints(self, tier: int) -> list[str]:
        """For teaching: 1 where it is wrong, 2 which rule is broken, 3 the formula. A list, one
        line for each finding."""
        if tier not in (1, 2, 3):
            raise ValueRangeError("hints(tier): the tiers are 1 (where), 2 (which rule) and 3 (the "
                                  f"formula), got {tier!r}")
        return [f.hint(tier) for f in self.wrong]
