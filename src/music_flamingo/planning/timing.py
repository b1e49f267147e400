"""How long does a step take? FLOPs against a device's peak, and bytes against its memory's bandwidth."""

from dataclasses import dataclass

from music_flamingo.models.cost_model import CostModel, Flops
from music_flamingo.planning.activations import Recompute, Trained
from music_flamingo.planning.devices import Device
from music_flamingo.planning.memory import Rollout, Step, key_value_bytes
from music_flamingo.planning.rows import PlannedRow


@dataclass(frozen=True)
class StepTime:
    """Of one row on one device.

    Attributes:
        flops: of the model, forward and backward of all that the step does; nothing that is computed again.
        recomputed: FLOPs of what is.
        decoded: bytes that sampling reads from memory.
        seconds: expected.
        fastest: with all of the device's peak and bandwidth.
    """

    flops: float
    recomputed: float
    decoded: float
    seconds: float
    fastest: float


def step_time(
    row: PlannedRow, cost_model: CostModel, step: Step | None, trained: Trained, references: int, device: Device
) -> StepTime:
    """Of a training step on a row.

    Args:
        row: given, sampled, trained.
        cost_model: of the model.
        step: sizes of the language model; None where they are not known, and nothing is computed again.
        trained: what learns.
        references: models beside it that read the row too.
        device: that computes.
    """
    forward = cost_model.flops(row.trained)
    flops = training_flops(forward, trained) + references * (forward.projector + forward.language_model)
    decoded = 0.0
    if row.rollout is not None:
        flops += cost_model.flops(row.given).forward
        decoded = 0.0 if step is None else decoding_bytes(row.rollout, step)
    recomputed = 0.0
    if step is not None and step.recompute is Recompute.NETWORK:
        recomputed = 6.0 * step.decoder.width * step.decoder.inner * row.trained.tokens * (step.decoder.layers - 1)
    if step is not None and step.recompute is Recompute.LAYER:
        recomputed = forward.language_model
    if step is not None and step.recompute_encoder and trained.encoder_from is not None:
        recomputed += forward.encoder
    fastest = (flops + recomputed) / device.peak + decoded / device.bandwidth
    seconds = (flops + recomputed) / (device.utilisation * device.peak) + decoded / (
        device.utilisation * device.bandwidth
    )
    return StepTime(flops, recomputed, decoded, seconds, fastest)


def training_flops(forward: Flops, trained: Trained) -> float:
    """Forward and backward; adapters need the gradients of what they are added to, but not of its weights."""
    encoder, projector = trained.encoder_from is not None, trained.projector
    if trained.decoder:
        return forward.training(encoder=encoder, projector=projector, language_model=True)
    below = forward.training(encoder=encoder, projector=projector, language_model=False)
    passed = encoder or projector
    return below + (0.0 if passed or trained.adapters is None else forward.language_model)


def decoding_bytes(rollout: Rollout, step: Step) -> float:
    """Weights of the language model and the keys of all branches, read for each token that is sampled."""
    sizes = step.decoder
    layer = 2 * sizes.width * (sizes.attended + sizes.kept) + 3 * sizes.width * sizes.inner
    weights = step.numbers.product * (sizes.layers * layer + sizes.vocabulary * sizes.width)
    return rollout.new_tokens * (weights + key_value_bytes(sizes, rollout, step.numbers.product))
