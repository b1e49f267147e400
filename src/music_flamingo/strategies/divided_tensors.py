"""Tensors of which each rank holds some rows."""

from torch import Tensor
from torch.distributed.tensor import DTensor

from music_flamingo.checkpoint_folder import CheckpointFolder, Rows


def rows_of(tensor: Tensor, *, writes_whole: bool, copy: bool = True) -> Rows | None:
    """What this rank is to write of a tensor, on the CPU; None where another one does.

    Args:
        tensor: one that FSDP2 divided, or one that all ranks hold whole.
        writes_whole: whether this rank writes what is not divided.
        copy: in memory of its own, so that the tensor may change.
    """
    if not isinstance(tensor, DTensor):
        return Rows(tensor.detach().to("cpu", copy=copy), 0, tuple(tensor.shape)) if writes_whole else None
    *replicas, place = _coordinate(tensor)
    start, stop = row_range(tensor.shape[0], tensor.device_mesh.shape[-1], place)
    if any(replicas) or start == stop:
        return None
    return Rows(tensor.to_local().detach().to("cpu", copy=copy), start, tuple(tensor.shape))


def rows_like(checkpoint: CheckpointFolder, name: str, target: Tensor | None) -> Tensor:
    """A tensor of a checkpoint, divided as another of its shape is; whole where there is none."""
    if not isinstance(target, DTensor) or checkpoint.shape(name) != tuple(target.shape):
        return checkpoint.read(name)
    mesh = target.device_mesh
    start, stop = row_range(target.shape[0], mesh.shape[-1], _coordinate(target)[-1])
    rows = checkpoint.read(name, start, stop).to(target.device)
    return DTensor.from_local(
        rows, mesh, target.placements, run_check=False, shape=target.shape, stride=target.stride()
    )


def row_range(num_rows: int, num_parts: int, part: int) -> tuple[int, int]:
    """First and last row of a part, as FSDP2 divides: parts of equal size, of which the last ones may lack rows."""
    size = -(-num_rows // num_parts)
    return min(part * size, num_rows), min((part + 1) * size, num_rows)


def _coordinate(tensor: DTensor) -> list[int]:
    """Of this rank among those that hold the tensor."""
    return list(tensor.device_mesh.get_coordinate() or ())
