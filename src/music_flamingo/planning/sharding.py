"""What of weights, gradients and optimizer does each device hold, under the strategy of a recipe?"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from music_flamingo.errors import UserError
from music_flamingo.planning.memory import FLOAT, States
from music_flamingo.planning.parameters import Parameters

WEIGHTS_TOO = 3
"""The stage of ZeRO that divides the weights."""
ZERO_BUCKET = 500_000_000
"""Gradients of a bucket: DeepSpeed's reduce_bucket_size."""
KNOWN = "auto, ddp and FullySharded, ZeRO and ContextParallel of music_flamingo.strategies"


@dataclass(frozen=True)
class Model:
    """What there is to hold.

    Attributes:
        parameters: of the network.
        layers: of its decoder.
        product: bytes of a number in products of matrices, 2 in mixed precision.
        moments: bytes that the optimizer keeps of a trained number.
        stepping: bytes that it allocates of one while it steps.
        rounded: numbers of weights that mixed precision copies in bfloat16.
        references: whole copies of the model beside it.
    """

    parameters: Parameters
    layers: int
    product: int
    moments: int
    stepping: int
    rounded: int
    references: int = 0

    @property
    def reference_bytes(self) -> float:
        return self.references * FLOAT * self.parameters.all

    @property
    def rounded_bytes(self) -> float:
        return 2.0 * self.rounded if self.product != FLOAT else 0.0


class Placement(ABC):
    """A way to divide a model over devices.

    Attributes:
        devices: in all.
        row_shares: devices that share a row.
    """

    devices: int

    @property
    def row_shares(self) -> int:
        return 1

    @abstractmethod
    def states(self, model: Model) -> States:
        """Of each device while it trains."""

    def sampling_states(self, model: Model) -> States:
        """Of each device in rollouts, where all weights are whole."""
        states = self.states(model)
        whole = FLOAT * model.parameters.all + self.reference_bytes(model)
        return replace(states, weights=whole, gathered=0.0)

    def reference_bytes(self, model: Model) -> float:
        """Of models beside it, of each device."""
        return model.reference_bytes


@dataclass(frozen=True)
class Replicated(Placement):
    """All on each device; several average their gradients in buckets, which are copies of them."""

    devices: int = 1

    def states(self, model: Model) -> States:
        trained = model.parameters.trained
        return States(
            weights=FLOAT * model.parameters.all + model.reference_bytes,
            rounded=model.rounded_bytes,
            gradients=FLOAT * trained,
            optimizer=model.moments * trained,
            stepping=model.stepping * trained,
            buckets=FLOAT * trained if self.devices > 1 else 0.0,
        )


@dataclass(frozen=True)
class FullyShardedPlacement(Placement):
    """FSDP2: a share of all on each device; weights are gathered in float32.

    Decoder layers are gathered one by one, and the next one ahead; all else is whole during forward and backward. The
    bfloat16 copies that mixed precision makes of gathered weights are kept for the backward pass, and are not shared.

    Attributes:
        replicas: groups of devices, each of which holds all shares.
    """

    devices: int
    replicas: int = 1

    def states(self, model: Model) -> States:
        parameters, share = model.parameters, self.devices // self.replicas
        layers = parameters["layers"]
        root, root_trained = parameters.all - layers.all, parameters.trained - layers.trained
        gathered = root + root_trained + 2 * (layers.all + layers.trained) / model.layers
        trained = parameters.trained / share
        return States(
            weights=FLOAT * parameters.all / share + self.reference_bytes(model),
            rounded=model.rounded_bytes,
            gradients=FLOAT * trained,
            optimizer=model.moments * trained,
            gathered=FLOAT * gathered,
            stepping=model.stepping * trained,
        )

    def reference_bytes(self, model: Model) -> float:
        """A share of them: they are never put together."""
        return model.reference_bytes / (self.devices // self.replicas)


@dataclass(frozen=True)
class ZeROPlacement(Placement):
    """DeepSpeed: optimizer, gradients and a copy of the weights to step in shares; with stage 3 the weights too.

    All of it is float32, see `music_flamingo.strategies.ZeRO`.

    Attributes:
        stage: 2 or 3.
        offload_optimizer: the optimizer's share lies in the machine's memory.
    """

    devices: int
    stage: int = 2
    offload_optimizer: bool = False

    def states(self, model: Model) -> States:
        parameters = model.parameters
        trained = parameters.trained / self.devices
        weights = FLOAT * parameters.all / (self.devices if self.stage == WEIGHTS_TOO else 1)
        largest = max(parameters["head"].all, parameters["embedding"].all, 2 * parameters["layers"].all / model.layers)
        return States(
            weights=weights + model.reference_bytes,
            rounded=model.rounded_bytes,
            gradients=FLOAT * trained,
            optimizer=0.0 if self.offload_optimizer else (FLOAT + model.moments) * trained,
            gathered=FLOAT * largest if self.stage == WEIGHTS_TOO else 0.0,
            buckets=FLOAT * min(ZERO_BUCKET, parameters.trained) if self.devices > 1 else 0.0,
        )


@dataclass(frozen=True)
class ContextParallelPlacement(FullyShardedPlacement):
    """FSDP2, and each device keeps an equal share of what a step keeps of a row.

    Attributes:
        ranks_per_row: devices that share a row; None for all.
    """

    ranks_per_row: int | None = None

    @property
    def row_shares(self) -> int:
        return self.ranks_per_row or self.devices


def placement_of(strategy: str | Mapping[str, Any] | None, devices: int) -> Placement:
    """The placement that `trainer.strategy` of a recipe asks for.

    Args:
        strategy: as it stands in the recipe.
        devices: in all.

    Raises:
        UserError: one whose memory is not known, or whose replicas do not divide the devices.
    """
    name, settings = (strategy, {}) if isinstance(strategy, str | None) else _class_and_settings(strategy)
    short = (name or "auto").rpartition(".")[2]
    if short == "auto" or short.startswith("ddp") or short in ("DDPStrategy", "SingleDeviceStrategy"):
        return Replicated(devices)
    if short in ("FullySharded", "ContextParallel"):
        replicas = int(settings.get("replicas", 1))
        if replicas < 1 or devices % replicas:
            raise UserError(
                f"trainer.strategy.replicas: expected a number that divides {devices} devices, got {replicas}"
            )
        if short == "FullySharded":
            return FullyShardedPlacement(devices, replicas)
        sharing = int(settings.get("ranks_per_row") or devices)
        if sharing < 1 or devices % sharing:
            raise UserError(
                f"trainer.strategy.ranks_per_row: expected a number that divides {devices} devices, got {sharing}"
            )
        return ContextParallelPlacement(devices, replicas, sharing)
    if short == "ZeRO":
        return ZeROPlacement(devices, int(settings.get("stage", 2)), bool(settings.get("offload_optimizer", False)))
    raise UserError(f"trainer.strategy: expected one whose memory is known, {KNOWN}, got {name}: plan with one of them")


def _class_and_settings(block: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return str(block.get("class_path")), block.get("init_args") or {}
