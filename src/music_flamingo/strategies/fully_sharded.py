"""A model divided over all ranks, by PyTorch's FSDP2.

Every rank keeps a part of each weight, of its gradient and of its optimizer state. A decoder layer is put together
where it is computed, and divided again. All else, the audio encoder, the projector, embeddings and head, is put
together for the whole of a forward and backward pass: ranks hear unequally many windows, and would call an encoder's
layers unequally often. To validate, to test and to sample, all is put together once, see `dividing`.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from music_flamingo.checkpoint_folder import CheckpointFolder
from music_flamingo.errors import UserError
from music_flamingo.plain_state import tensors_of
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from music_flamingo.strategies.divided_tensors import rows_like
from music_flamingo.strategies.dividing import DividingStrategy

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
"""What optimizers keep of a weight in its own shape."""


class FullySharded(DividingStrategy, ModelParallelStrategy):
    """Divides weights, gradients and optimizer over the ranks.

    Args:
        replicas: of the divided model; 1 divides it over all ranks. As many as there are nodes divides it within each:
            more memory, and only gradients go from node to node.
    """

    def __init__(self, replicas: int = 1) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1)
        self.replicas = replicas
        self._models: list[Any] = []  # those that are validated and sampled from

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        require_divisor("replicas", self.replicas, self.num_nodes * self.num_processes)
        super().setup_environment()

    def divide(self, model: Any) -> None:
        """Divide a model that is whole on every rank."""
        if isinstance(model, FSDPModule):
            return
        if not hasattr(model, "layers"):
            raise UserError(
                f"trainer.strategy {type(self).__name__}: expected a model with a language model, got "
                f"{type(model).__name__}: use ddp, or ZeRO"
            )
        mesh = self._sharding_mesh()
        trains = any(weight.requires_grad for weight in model.parameters())
        for layer in model.layers():
            fully_shard(layer, mesh=mesh)
        # All but its layers stays together until the backward pass; a reference model has none.
        fully_shard(model, mesh=mesh, reshard_after_forward=not trains)
        _register_entries(model)
        if trains:
            self._models.append(model)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._stage.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        folders = cast(FolderCheckpointIO, self.checkpoint_io)
        folders.save_part(checkpoint, Path(self.broadcast(filepath)), rank=self.global_rank, num_ranks=self.world_size)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        checkpoint = CheckpointFolder(Path(checkpoint_path))
        targets = dict(tensors_of({"state_dict": self._stage.state_dict(), "optimizer_states": self._moments()}))
        return checkpoint.state(lambda name: rows_like(checkpoint, name, targets.get(name)))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        self._stage.load_state_dict(checkpoint["state_dict"], strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)

    @property
    def _stage(self) -> LightningModule:
        return cast(LightningModule, self.lightning_module)

    def _moments(self) -> list[Any]:
        """Of each optimizer what its state will be like: each weight's moments are divided as it is."""
        weights = [[w for group in each.param_groups for w in group["params"]] for each in self.optimizers]
        return [{"state": {n: dict.fromkeys(MOMENTS, w) for n, w in enumerate(each)}} for each in weights]

    def whole_state(self, module: nn.Module) -> dict[str, Tensor]:
        whole = {}
        for name, tensor in module.state_dict().items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.is_global_zero:
                whole[name] = full.cpu()
        return whole

    def _sharding_mesh(self) -> DeviceMesh:
        """Of one dimension, or of replicas and parts."""
        if self.replicas == 1:
            return self.device_mesh["data_parallel"]
        shape = self.replicas, self.world_size // self.replicas
        return init_device_mesh(self.root_device.type, shape, mesh_dim_names=("replicas", "parts"))

    def put_together(self) -> None:
        # Weights that were put together in inference mode could not be trained on.
        with torch.inference_mode(False), torch.no_grad():
            for part in self._parts():
                part.set_reshard_after_forward(False, recurse=False)
                part.unshard()

    def divide_again(self) -> None:
        for part in self._parts():
            part.set_reshard_after_forward(part not in self._models, recurse=False)
            part.reshard()

    def _parts(self) -> list[Any]:
        return [part for model in self._models for part in model.modules() if isinstance(part, FSDPModule)]


def require_divisor(name: str, number: int, devices: int) -> None:
    """Raise a UserError unless a setting of the strategy divides the devices."""
    if number < 1 or devices % number:
        raise UserError(f"trainer.strategy.{name}: expected a number that divides {devices} devices, got {number}")


def _register_entries(model: Any) -> None:
    """Let the methods by which stages call a divided model put its weights together, the outermost call only."""
    inside = False

    def guarded(plain: Callable[..., Any], putting_together: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return plain(*args, **kwargs)
            inside = True
            try:
                return putting_together(*args, **kwargs)
            finally:
                inside = False

        return call

    for name in model.entries:
        plain = getattr(model, name)
        register_fsdp_forward_method(model, name)
        setattr(model, name, guarded(plain, getattr(model, name)))
