"""What a check says: findings, each of one of a closed list of kinds, and the report that holds them."""

from dataclasses import dataclass, field

from ..core.errors import ValueRangeError

# Every kind that a finding can have, and what it says of the gradient under test, a. The true gradient is n.
KINDS = {
    "shape": "a has another shape than the input, or there is not one gradient for each input",
    "dtype": "a has another dtype than the input",
    "nan": "a holds NaN or infinity where n is finite",
    "mutates": "the backward pass writes into an input, a saved array or the upstream gradient",
    "aliases": "a shares its memory with an input or with another gradient",
    "not-repeatable": "the same backward pass gives another result the second time",
    "ignores-upstream": "a does not depend on the upstream gradient g",
    "nonlinear": "a is not linear in g",
    "zero": "a is zero where n is not: the path is cut",
    "sign": "a is −n",
    "factor": "a is n times a constant",
    "transposed": "a is n transposed",
    "permuted": "a has n's values in other places",
    "unsummed-broadcast": "the input was broadcast, and a was not summed back to its shape",
    "averaged-broadcast": "the input was broadcast, and a is the mean over its uses, not the sum",
    "not-accumulated": "an entry is used several times, and a has the gradient of one use only",
    "path-missing": "one of several paths from the input to the output is left out",
    "path-doubled": "one of several paths is counted twice",
    "missing-factor": "a lacks a factor that is an array: an input, the output, or made of them",
    "extra-factor": "a has a factor too many that is an array",
    "diagonal-jacobian": "a uses the diagonal of the Jacobian alone",
    "missing-term": "n is a sum of terms, and a lacks one",
    "wrong-coefficient": "n is a sum of terms, and one of them has another coefficient in a",
    "mask-ignored": "a does not stop where a mask stops the forward pass, and is wrong elsewhere for it",
    "mask-leak": "gradient reaches entries that the forward pass does not use",
    "only-at-ties": "a differs only where entries tie",
    "kink": "a differs only where the function has a kink: any value between the two slopes may be meant",
    "missing-eps": "a leaves out a small constant that the forward pass has, or puts it elsewhere",
    "wrong-axis": "a is summed or averaged over another axis than the forward pass",
    "stale-value": "a is the gradient at other values than those of the forward pass",
    "precision": "a is right but for rounding far above its dtype's",
    "unexplained": "a is wrong in a way that none of the others describes; where and how much is said",
    "vacuous": "this test point hides mistakes: a wrong gradient could have passed",
}


SHOWN = 14                                         # lines of comparisons in a printed report


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    kind: one of KINDS. input: the name of the input whose gradient it is about, '' for the whole pass. message: a
    sentence with the numbers in it. detail: numbers for programs. certainty: "certain" (equal to within the noise),
    "likely" (consistent with it), or "possible". hints: where it is wrong; which rule is broken; the formula.
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

    def hint(self, tier):
        """The hint of a tier, 1 to 3; what has none of its own is told by its kind, and at last by its message."""
        told = (f"look at d{self.input}" if self.input else "look at the whole pass", KINDS[self.kind], self.message)
        return (*self.hints, *told[len(self.hints):])[tier - 1]


@dataclass
class Comparison:
    """One input's gradient held against the true one: how many numbers were compared, and the worst of them."""

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
    how: str = "entries"                           # "entries", or "directions" for inputs that are too large
    witness: str = "finite differences say"        # before the true value

    def __str__(self):
        mark = "ok   " if self.ok else "WRONG"
        size = 1
        for n in self.shape:
            size *= n
        part = "" if self.how == "entries" and self.entries == size else f" ({self.entries} {self.how} drawn)"
        where = "" if self.ok else (f"\n         worst at {self.index}: backward says {self.analytic:.10g}, "
                                    f"{self.witness} {self.numeric:.10g}")
        return (f"  {mark} d{self.name} {self.shape}{part}: largest error {self.worst:.1e}, beside a largest entry of "
                f"{self.scale:.1e}{where}")


@dataclass
class Report:
    """What a check found. True if every gradient is right and the test point could have shown it; prints as a page.

    subject: what was checked. comparisons: a line for each input. findings: what is wrong, the most telling first, and
    last what the test point could not show ("vacuous").
    """

    subject: str
    comparisons: list[Comparison]
    findings: list[Finding] = field(default_factory=list)

    def __bool__(self):
        return all(c.ok for c in self.comparisons) and all(
            f.kind == "kink" or f.kind == "vacuous" and f.certainty == "possible" for f in self.findings)

    @property
    def wrong(self) -> list[Finding]:
        """The findings that say that something is wrong: "vacuous" only says that it might be, "kink" that it is free."""
        return [f for f in self.findings if f.kind not in ("vacuous", "kink")]

    def __str__(self):
        bad = [c.name for c in self.comparisons if not c.ok]
        if bad:
            head = f"gradients of {', '.join(bad)} are wrong"
        elif self.wrong:
            head = "the values are right, but not the pass"
        elif not self:
            head = "nothing wrong was seen, but this test point hides mistakes"
        else:
            head = f"{len(self.comparisons)} gradients are right"
        return "\n".join([f"{self.subject}: {head}", *self._lines(), *(f"  {finding}" for finding in self.findings)])

    def _lines(self):
        """A line for each comparison; of many, the right ones in one line, so that a report fits on a screen."""
        right = [c for c in self.comparisons if c.ok]
        if len(self.comparisons) <= SHOWN:
            return [str(c) for c in self.comparisons]
        worst = max((c.worst / max(c.scale, 1e-300) for c in right if c.scale > 1e-12), default=0.0)
        return [str(c) for c in self.comparisons if not c.ok][:SHOWN] + [
            f"  ok    {len(right)} gradients, {sum(c.entries for c in right)} entries looked at; largest error {worst:.1e} of "
            "an input's largest entry"]

    def hints(self, tier):
        """For teaching: 1 where it is wrong, 2 which rule is broken, 3 the formula. A list, a line for each finding."""
        if tier not in (1, 2, 3):
            raise ValueRangeError(f"hints(tier): the tiers are 1 (where), 2 (which rule) and 3 (the formula), got {tier!r}")
        return [f.hint(tier) for f in self.wrong]
