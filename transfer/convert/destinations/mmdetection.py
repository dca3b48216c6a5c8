"""mmdetection: a ResNet with style="pytorch" has torchvision's names and stride, and reads them below "state_dict"."""

from __future__ import annotations

from transfer.convert.destinations import torchvision
from transfer.convert.destinations.base import Destination, Verifier


def verifier() -> Verifier:
    """torchvision's network, for mmdetection takes the same names."""
    from transfer.convert.verify import stages_in_torchvision

    return Verifier("torchvision, under whose names mmdetection reads it", stages_in_torchvision)


DESTINATION = Destination(
    name="mmdetection",
    help='torchvision\'s names, for a ResNet with `style="pytorch"`; checked in torchvision',
    endings=(".pth",),
    write=torchvision.write,
    verifier=verifier,
)
