"""One claim of a benchmark, and the line of a table that tells it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of the results.

    Attributes:
        claim: what is measured.
        setting: of which sizes.
        baseline: what it is measured against.
        baseline_seconds: process-CPU seconds of the baseline, median.
        our_seconds: the same of ours.
        must: ratio that was aimed at; of a plain quantity, the most that ours may be.
        baseline_mib: where memory is compared, what the baseline adds to the process at its peak.
        our_mib: the same of ours.
        baseline_quantity: where a plain quantity is compared, of which less is better, the baseline's.
        our_quantity: ours.
    """

    claim: str
    setting: str
    baseline: str
    baseline_seconds: float
    our_seconds: float
    must: float
    baseline_mib: float | None = None
    our_mib: float | None = None
    baseline_quantity: float | None = None
    our_quantity: float | None = None

    @property
    def ratio(self) -> float:
        if self.baseline_quantity is not None and self.our_quantity is not None:
            return self.baseline_quantity / self.our_quantity
        if self.baseline_mib is not None and self.our_mib is not None:
            return self.baseline_mib / self.our_mib
        return self.baseline_seconds / self.our_seconds

    @property
    def holds(self) -> bool:
        return self.ratio >= self.must if self.our_quantity is None else self.our_quantity <= self.must


def table_line(claim: Claim) -> str:
    """A line of the Markdown table."""
    must = f"{claim.must:g}"
    if claim.baseline_quantity is not None and claim.our_quantity is not None:
        measured, must = f"{claim.baseline_quantity:.3f} | {claim.our_quantity:.3f}", f"ours <= {must}"
    elif claim.baseline_mib is not None and claim.our_mib is not None:
        measured = f"{claim.baseline_mib:,.0f} MiB | {claim.our_mib:,.0f} MiB"
    else:
        measured = f"{claim.baseline_seconds:.3g} s | {claim.our_seconds:.3g} s"
    holds = "yes" if claim.holds else "no"
    words = [claim.claim, claim.setting, claim.baseline, measured, f"{claim.ratio:.2f}", must, holds]
    return f"| {' | '.join(words)} |"
