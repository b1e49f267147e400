"""Rows that are too long for one device: several ranks compute a part of each, and the model is divided over all.

A rank keeps what its own tokens and windows leave for the backward pass. Keys and values of a layer come from the other
ranks when they are needed; log-probabilities go to all of them, so that every rank has the whole loss. In rollouts and
in validation nothing has to be kept: each of the ranks samples the whole row, and the first one's draws count.
"""

from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from music_flamingo.errors import UserError
from music_flamingo.models.row_sharing import RowSharing
from music_flamingo.strategies.fully_sharded import FullySharded, require_divisor

Value = TypeVar("Value")


class ContextParallel(FullySharded):
    """Divides rows, and weights, gradients and optimizer as `FullySharded` does.

    Args:
        ranks_per_row: ranks that share a row, neighbours; None takes all.
        replicas: of the divided model.
    """

    def __init__(self, ranks_per_row: int | None = None, replicas: int = 1) -> None:
        super().__init__(replicas)
        self.ranks_per_row = ranks_per_row
        self._group: dist.ProcessGroup | None = None

    def setup_environment(self) -> None:
        size = self._num_sharing
        require_divisor("ranks_per_row", size, self.num_nodes * self.num_processes)
        super().setup_environment()
        shape = self.world_size // size, size
        mesh = init_device_mesh(self.root_device.type, shape, mesh_dim_names=("rows", "parts"))
        self._group = mesh.get_group("parts")

    def divide(self, model: Any) -> None:
        if not getattr(model, "shares_rows", False):
            raise UserError(
                f"trainer.strategy ContextParallel: expected a model whose audio stands among its tokens, got "
                f"{type(model).__name__}: use FullySharded"
            )
        super().divide(model)
        if self._group is not None:
            model.sharing = RowSharing(self._group)

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Lightning's name for which rows a rank has."""
        return {"num_replicas": self.world_size // self._num_sharing, "rank": self.global_rank // self._num_sharing}

    def of_first(self, value: Value) -> Value:
        """What the first of the ranks has that share a row; its tensors must be on the CPU."""
        values = [value]
        dist.broadcast_object_list(values, group=self._group, group_src=0)
        return values[0]

    @property
    def _num_sharing(self) -> int:
        return self.num_nodes * self.num_processes if self.ranks_per_row is None else self.ranks_per_row
