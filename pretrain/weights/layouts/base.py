"""What a checkpoint layout says: where the trunk lies, which names mark it, and how images were scaled."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.weights.names import TORCHVISION, Naming

ImageStatistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation, a number a channel
IMAGENET: ImageStatistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNSCALED: ImageStatistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # ToTensor and nothing after it


@dataclass(frozen=True)
class Place:
    """Where a branch lies in a file.

    within: dotted keys from the file's top to the branch's dictionary; "" is the file itself, and | separates
        alternatives.
    prefix: a regular expression for what the names of its tensors begin with.
    otherwise: further ones, each tried where no earlier one fits: a project may save one module under several names.
    """

    within: str
    prefix: str = ""
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One way in which a project saves a ResNet.

    source: the public code that writes such files.
    online: the branch that gradients train. target: the branch that follows it.
    takes: the branch that the project itself evaluates. Conversion takes it unless told otherwise.
    marks: expressions, each of which must fit the start of some name. unless: expressions that must fit no name.
    keys: keys, or key=value, that the top of the file must have. absent_keys: those that it must not have.
    head: an expression for names below the trunk's prefix that do not belong to the trunk.
    naming: how the trunk's tensors are called.
    moved: (expression, text) for names outside the trunk's prefix that belong to the trunk, and what takes its place.
    pixels: mean and standard deviation of RGB in 0..1 that the project trains with.
    shared: whether many projects use these names, so that `pixels` is only what is usual, and a head may have any name.
    says_input: whether a file is read only when it says itself how its images were scaled and ordered.
    peer: whose network has the source's names, as in `Naming`; empty for that of `naming`.
    """

    name: str
    source: str
    online: Place
    target: Place | None = None
    takes: str = "online"
    marks: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    absent_keys: tuple[str, ...] = ()
    head: str = r"fc\."
    naming: Naming = TORCHVISION
    moved: tuple[tuple[str, str], ...] = ()
    pixels: ImageStatistics = IMAGENET
    shared: bool = False
    says_input: bool = False
    peer: str = ""

    def places(self) -> dict[str, Place]:
        """The branches, online first."""
        return {"online": self.online} | ({"target": self.target} if self.target else {})
