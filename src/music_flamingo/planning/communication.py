"""How much do devices send one another in a step, and how long does that take? On paper, for nodes of eight.

All devices of a node are joined by NVLink, and each has an InfiniBand adapter of its own. What a collective moves is
counted as what each device receives; its time is that of the slower of both networks, as NCCL fills them at the same
time, and of its steps.
"""

from dataclasses import dataclass

from music_flamingo.planning.parameters import Parameters


@dataclass(frozen=True)
class Network:
    """Between devices.

    Attributes:
        node: devices of one.
        nvlink: bytes/s into a device from its node.
        infiniband: bytes/s into a device from other nodes.
        efficiency: share of both that collectives reach.
        nvlink_step: seconds from a device to the next of its node.
        infiniband_step: seconds from a node to the next.
    """

    node: int = 8
    nvlink: float = 450e9
    infiniband: float = 50e9
    efficiency: float = 0.7
    nvlink_step: float = 2e-6
    infiniband_step: float = 10e-6


@dataclass(frozen=True)
class Traffic:
    """Of a step.

    Attributes:
        received: bytes into each device.
        seconds: if nothing else were done.
    """

    received: float
    seconds: float

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.received + other.received, self.seconds + other.seconds)


NOTHING = Traffic(0.0, 0.0)


def gather(size: float, devices: int, network: Network, pieces: int = 1) -> Traffic:
    """All devices hold a share of so many bytes and get all of them; scattering their sums takes as much.

    Args:
        size: of the whole, in bytes.
        devices: that share it.
        network: between them.
        pieces: collectives in which it is done.
    """
    if devices == 1:
        return NOTHING
    nodes = -(-devices // network.node)
    on_node = min(devices, network.node)
    within = size * (devices - 1) / devices / network.nvlink
    across = size * (nodes - 1) / nodes / (on_node * network.infiniband)
    steps = (on_node - 1) * network.nvlink_step + (nodes - 1) * network.infiniband_step
    seconds = max(within, across) / network.efficiency + pieces * steps
    return Traffic(size * (devices - 1) / devices, seconds)


def average_over_replicas(size: float, replicas: int, network: Network) -> Traffic:
    """Sums of a share that each of several nodes holds, over InfiniBand: scattered, then gathered."""
    if replicas == 1:
        return NOTHING
    received = 2 * size * (replicas - 1) / replicas
    steps = 2 * (replicas - 1) * network.infiniband_step
    return Traffic(received, received / (network.efficiency * network.infiniband) + steps)


def fully_sharded(
    parameters: Parameters, layers: int, devices: int, network: Network, *, replicas: int = 1, width: int = 4
) -> Traffic:
    """FSDP2: layers are gathered forward and backward, all else once; gradients are scattered, then averaged.

    Args:
        parameters: of the model.
        layers: of its decoder.
        devices: in all.
        network: between them.
        replicas: groups of devices with all shares, each of whole nodes.
        width: bytes of a weight and of a gradient on their way.
    """
    share = devices // replicas
    decoder, root = parameters["layers"], parameters.all - parameters["layers"].all
    root_trained = parameters.trained - decoder.trained
    traffic = gather(2 * width * decoder.all, share, network, 2 * layers) + gather(width * root, share, network)
    traffic += gather(width * decoder.trained, share, network, layers) + gather(width * root_trained, share, network)
    return traffic + average_over_replicas(width * parameters.trained / share, replicas, network)


def zero(parameters: Parameters, layers: int, devices: int, network: Network, stage: int, width: int = 4) -> Traffic:
    """DeepSpeed: with stage 3 weights are gathered forward and backward, with stage 2 once, after the step."""
    gathers = 2 if stage > 2 else 1  # noqa: PLR2004 - ZeRO's own numbers
    weights = gather(gathers * width * parameters.all, devices, network, gathers * layers)
    return weights + gather(width * parameters.trained, devices, network, layers)
