"""Do two ways compute the same? A ratio between things that differ says nothing."""

from collections.abc import Mapping

from torch import Tensor, nn

from benchmarks.speed.subject import model

MOST_DIFFERENCE = 2e-5
"""Of a tensor's gradient, relative to its norm: what float32 leaves between two ways of summing."""


def gradients_of(loss: Tensor, subject: nn.Module | None = None) -> dict[str, Tensor]:
    """Gradients of the parameters of `subject`, or else of `small`, by name."""
    subject = subject or model()
    subject.zero_grad()
    loss.backward()
    return collected_gradients(subject)


def collected_gradients(subject: nn.Module | None = None) -> dict[str, Tensor]:
    """Copies of the gradients that its parameters hold."""
    return {name: p.grad.clone() for name, p in (subject or model()).named_parameters() if p.grad is not None}


def require_same(baseline: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    """Stop unless every tensor has the same gradient, up to rounding.

    Raises:
        RuntimeError: they differ, or are not of the same tensors.
    """
    if set(baseline) != set(ours):
        raise RuntimeError(f"gradients of different tensors: {sorted(set(baseline) ^ set(ours))}")
    for name, gradient in baseline.items():
        difference = float((gradient - ours[name]).norm() / gradient.norm())
        if difference > MOST_DIFFERENCE:
            raise RuntimeError(f"{name}: the two gradients differ by {difference:.1e} of their norm")
