"""How a model is spread over the devices of a pod."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """`data` copies of `pipeline` stages, each weight on `tensor` devices: their product is the devices."""

    data: int = 1
    pipeline: int = 1
    tensor: int = 1
