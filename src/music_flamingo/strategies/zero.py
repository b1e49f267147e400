"""DeepSpeed's ZeRO, on GPUs and on CPUs, with weights in float32.

Lightning runs DeepSpeed on CUDA only, and lets it cast whole models to bfloat16, tables of rotations too. Here bfloat16
is for what is multiplied, as under every other strategy. Checkpoints are those of every other strategy too: weights and
moments go into them one by one, each written by one rank.
"""

import importlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy, ParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from music_flamingo.checkpoint_folder import CheckpointFolder
from music_flamingo.plain_state import Elsewhere
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from music_flamingo.strategies.dividing import DividingStrategy

MODEL, OPTIMIZER = "state_dict", "optimizer_states"


class Float32Weights(DeepSpeedPrecision):
    """DeepSpeed's steps with rows as they are, and with autocast where bfloat16 is asked for.

    Args:
        precision: `32-true` or `bf16-mixed`.
        device: "cuda" or "cpu".
    """

    def __init__(self, precision: Any, device: str) -> None:
        super().__init__(precision)
        self.device = device

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module

    def convert_input(self, data: Any) -> Any:
        return data

    def forward_context(self) -> AbstractContextManager[None]:
        # Copies that a rollout made of weights would serve the update too, which they give no gradients.
        is_mixed = self.precision == "bf16-mixed"
        return torch.autocast(self.device, torch.bfloat16, enabled=is_mixed, cache_enabled=False)


class ZeRO(DividingStrategy, DeepSpeedStrategy):
    """Divides optimizer and gradients over the ranks (stage 2), or the weights too (stage 3).

    Args:
        stage: of ZeRO.
        offload_optimizer: keep the optimizer in the host's memory.
        keep_whole: of stage 3, numbers up to which a weight is not divided.
    """

    keeps_gradients = True

    def __init__(self, stage: Literal[2, 3] = 2, offload_optimizer: bool = False, keep_whole: int = 100_000) -> None:
        self._deepspeed: Any = importlib.import_module("deepspeed")
        # An operator for CPUs that would be compiled at its first use, for minutes.
        self._deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        super().__init__(
            stage=stage,
            offload_optimizer=offload_optimizer,
            logging_batch_size_per_gpu=1,  # rows are batches
            zero_allow_untested_optimizer=True,
        )
        cast(dict[str, Any], self.config)["zero_optimization"]["stage3_param_persistence_threshold"] = keep_whole
        self._checkpoint: CheckpointFolder | None = None

    @property
    def root_device(self) -> torch.device:
        """With an index, which DeepSpeed asks for on a CPU too."""
        return torch.device(super().root_device.type, self.local_rank)

    def setup_environment(self) -> None:
        if isinstance(self.accelerator, CPUAccelerator):
            os.environ.setdefault("LOCAL_SIZE", str(self.num_processes))  # or DeepSpeed asks numactl for it
            ParallelStrategy.setup_environment(self)
            self.setup_distributed()
        else:
            super().setup_environment()

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def setup(self, trainer: Trainer) -> None:
        self.precision_plugin = Float32Weights(self.precision_plugin.precision, self.root_device.type)
        # A stage with manual optimization clips by itself, which under DeepSpeed only DeepSpeed can.
        clip = getattr(self._stage, "gradient_clip", None)
        if clip is not None:
            cast(dict[str, Any], self.config)["gradient_clipping"] = clip
        super().setup(trainer)

    def _format_config(self) -> None:
        """Lightning's, without what would have DeepSpeed cast weights to bfloat16."""
        precision = self.precision_plugin.precision
        self.precision_plugin.precision = "32-true"
        super()._format_config()
        self.precision_plugin.precision = precision
        if precision == "bf16-mixed":
            # Otherwise DeepSpeed's forward pass would end the autocast around it. What is sent stays float32.
            autocast = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
            cast(dict[str, Any], self.config)["torch_autocast"] = autocast

    def divide(self, model: nn.Module) -> None:
        """Nothing: DeepSpeed divides the whole stage when it is set up."""

    def put_together(self) -> None:
        if not self.zero_stage_3:
            return
        weights: list[Any] = [weight for weight in self._stage.parameters() if hasattr(weight, "ds_id")]
        for weight in weights:
            weight.ds_active_sub_modules.clear()
        offload = self._offload
        offload._remove_module_hooks()  # they would divide a layer as soon as it has been computed
        offload.forward_hooks, offload.backward_hooks = [], []
        self._gathering = self._deepspeed.zero.GatheredParameters(weights)
        self._gathering.__enter__()

    def divide_again(self) -> None:
        if not self.zero_stage_3:
            return
        self._gathering.__exit__(None, None, None)
        self._offload.setup_zero_stage3_hooks()

    def whole_state(self, module: nn.Module) -> dict[str, Tensor]:
        whole = {}
        for name, weight in module.state_dict(keep_vars=True).items():
            full = self._whole(weight)
            if self.is_global_zero:
                whole[name] = full.cpu()
        return whole

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Weights, each on the one rank that writes it."""
        return {name: self._kept(n, self._whole(w)) for n, (name, w) in enumerate(self._weights().items())}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """What PyTorch's own optimizer would give, each moment on the one rank that writes it."""
        inner = self._inner_optimizer
        moments: dict[str, Any] = next(iter(inner.state.values()), {})
        state = {number: {**moments} for number, _ in enumerate(self._trained())} if moments else {}
        for number, weight in enumerate(self._trained()):
            for key in self._divided(moments):
                whole = self._deepspeed.utils.safe_get_full_optimizer_state(weight, key)
                state[number][key] = self._kept(number, whole)
        (group,) = ({**group, "params": [*range(len(self._trained()))]} for group in inner.param_groups)
        return {"state": state, "param_groups": [group]}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        folders = cast(FolderCheckpointIO, self.checkpoint_io)
        folder = Path(self.broadcast(filepath))
        folders.save_part(checkpoint, folder, rank=self.global_rank, num_ranks=self.world_size, writes_whole=True)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        """All but weights and moments, which are read one by one when they are asked for."""
        self._checkpoint = checkpoint = CheckpointFolder(Path(checkpoint_path))
        nothing = torch.empty(0)
        return checkpoint.state(
            lambda name: nothing if checkpoint.shape(name) and _is_divided(name) else checkpoint.read(name)
        )

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        folder = cast(CheckpointFolder, self._checkpoint)
        for name, weight in self._weights().items():
            self._set(weight, folder.read(f"{MODEL}/{name}"))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        folder, (loaded,) = cast(CheckpointFolder, self._checkpoint), checkpoint[OPTIMIZER]
        inner = self._inner_optimizer
        for group, values in zip(inner.param_groups, loaded["param_groups"], strict=True):
            group.update({key: value for key, value in values.items() if key != "params"})
        moments: dict[str, Any] = next(iter(loaded["state"].values()), {})
        for flat in self._flat_weights():
            for key, value in moments.items():
                inner.state[flat][key] = value.clone() if value.dim() == 0 else torch.zeros_like(flat)
        if not self.zero_stage_3:
            self._zero._lazy_init_hp_params_optimizer_state()
        for number, weight in enumerate(self._trained()):
            for key in self._divided(moments):
                self._set_moment(weight, key, folder.read(f"{OPTIMIZER}/0/state/{number}/{key}"))

    @property
    def _stage(self) -> LightningModule:
        return cast(LightningModule, self.lightning_module)

    @property
    def _zero(self) -> Any:
        """DeepSpeed's optimizer."""
        return self.deepspeed_engine.optimizer

    @property
    def _inner_optimizer(self) -> Any:
        """The recipe's, over stretches of weights one behind the other."""
        return self._zero.optimizer

    @property
    def _offload(self) -> Any:
        """What puts layers together; of a model that is only evaluated it stands in the optimizer's place."""
        return getattr(self._zero, "parameter_offload", self._zero)

    def _flat_weights(self) -> list[Tensor]:
        stage3 = self.zero_stage_3
        return list(self._zero.fp32_partitioned_groups_flat if stage3 else self._zero.single_partition_of_fp32_groups)

    def _weights(self) -> dict[str, Tensor]:
        return self._stage.state_dict(keep_vars=True)

    def _trained(self) -> list[nn.Parameter]:
        """In the order of the recipe's optimizer."""
        return [weight for weight in self._stage.parameters() if weight.requires_grad]

    def _divided(self, moments: Mapping[str, Any]) -> list[str]:
        """Those of an optimizer's values that are as large as the weight."""
        return [key for key, value in moments.items() if isinstance(value, Tensor) and value.dim() > 0]

    def _kept(self, number: int, whole: Tensor) -> Tensor | Elsewhere:
        return whole if number % self.world_size == self.global_rank else Elsewhere()

    def _whole(self, weight: Tensor) -> Tensor:
        with self._gathered(weight):
            return weight.detach().clone()

    def _gathered(self, weight: Tensor) -> AbstractContextManager[None]:
        divided = hasattr(weight, "ds_id")
        return cast(
            AbstractContextManager[None], self._deepspeed.zero.GatheredParameters([weight] * divided, enabled=divided)
        )

    @torch.no_grad()
    def _set(self, weight: Any, whole: Tensor) -> None:
        """Give a weight its value: what is computed with, and what the optimizer changes."""
        if not hasattr(weight, "ds_id"):
            weight.copy_(whole)
            if getattr(weight, "_hp_mapping", None) is not None:
                self._deepspeed.utils.safe_set_full_fp32_param(weight, weight)
            return
        part = self._part(weight, whole)
        weight.ds_tensor.copy_(part)
        if weight.numel() == whole.numel():  # not divided at the moment
            weight.copy_(whole)
        if weight.requires_grad:
            self._deepspeed.utils.safe_set_local_fp32_param(weight, part)

    def _set_moment(self, weight: nn.Parameter, key: str, whole: Tensor) -> None:
        if hasattr(weight, "ds_id"):
            self._deepspeed.utils.safe_set_local_optimizer_state(weight, self._part(weight, whole), key)
        else:
            self._deepspeed.utils.safe_set_full_optimizer_state(weight, whole.to(weight.device), key)

    def _part(self, weight: Any, whole: Tensor) -> Tensor:
        """What this rank holds of a value: parts are of equal size, the last one is filled with zeros."""
        size = weight.ds_tensor.numel()
        part = whole.flatten()[self.global_rank * size : (self.global_rank + 1) * size]
        return nn.functional.pad(part, (0, size - len(part))).to(weight.ds_tensor.device)


def _is_divided(name: str) -> bool:
    return name.startswith((f"{MODEL}/", f"{OPTIMIZER}/"))
