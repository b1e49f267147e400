"""Is what must stay in float32 in float32, after a strategy has set the model up?

Tables of rotations hold angles of thousands of radians: in bfloat16 the rotations they make point anywhere. Weights and
norms in bfloat16 lose the optimizer's small steps. Neither shows in a loss.
"""

import torch
from torch import nn

from music_flamingo.errors import UserError


def require_float32(model: nn.Module, set_up_by: str) -> None:
    """Refuse weights and buffers of another floating-point type.

    Args:
        model: after it was set up.
        set_up_by: the setting to change, for the complaint.

    Raises:
        UserError: one that is not in float32.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype is not torch.float32:
            raise UserError(
                f"{set_up_by}: expected weights, norms and tables of rotations in float32 after set-up, got {name} in "
                f"{str(tensor.dtype).removeprefix('torch.')}: use trainer.precision=bf16-mixed with one of "
                "recipes/overrides"
            )
