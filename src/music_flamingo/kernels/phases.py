"""Angles that keep their digits, however many turns they go round: integers of 2**-64 turns.

Where an angle is a whole number n times a step of s turns, n times round(s * 2**64) as 64-bit integers wraps around
just as the angle does, and no digit that counts is lost. Float32 keeps 24 bits of all the turns taken together.
"""

import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

PHASE_BITS = 64
KEPT_BITS = 24
"""Of a phase; as many as float32 holds."""
TURN = 2 * Decimal("3.14159265358979323846264338327950288")
"""In radians, to more digits than a phase has."""


def frequencies(theta: float, width: int, count: int) -> list[Decimal]:
    """Of pair k below `count`, theta ** (-2 k / width); a float's 53 bits would not fill a phase."""
    return [Decimal(theta) ** (Decimal(-2 * k) / width) for k in range(count)]


def phase_steps(turns: Iterable[Decimal], device: torch.device) -> Tensor:
    """Steps in turns as int64 phases (K,)."""
    half = 2 ** (PHASE_BITS - 1)  # int64 holds half a turn to either side
    units = [round(step % 1 * 2**PHASE_BITS) for step in turns]
    return torch.tensor([(unit + half) % (2 * half) - half for unit in units], dtype=torch.int64, device=device)


def radians(phases: Tensor) -> Tensor:
    """Int64 phases as float32 angles between -pi and pi."""
    kept: Tensor = (phases >> (PHASE_BITS - KEPT_BITS)).float()
    return kept.mul_(2 * math.pi / 2**KEPT_BITS)


class Rotation(torch.autograd.Function):
    """Its backward is the rotation the other way round, so nothing but the angles' origin is kept."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, turned: Callable[[Tensor, float], Tensor]) -> Tensor:
        """Apply `turned`, which gives a rotated copy and takes the direction, 1 or -1."""
        ctx.turned = turned
        return turned(tensor, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.turned(gradient, -1.0), None
