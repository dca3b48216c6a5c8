"""From the bytes of an image file to RGB pixels."""

from __future__ import annotations

import io
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from pretrain.runtime.printable import printable

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # where Pillow refuses, 179 million
MOST_BYTES = 8 * MOST_PIXELS  # of a file: four channels of 16 bits without compression
DEEPEST = 16  # bits of a grey value
JPEG = b"\xff\xd8\xff"
NO_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})  # Pillow knows them, other programs draw them
BY_OTHER_NAMES = {"MPO": "JPEG"}  # formats that Pillow opens by another one's reader
NO_ENDING = "SPIDER"  # has none of its own: Pillow adds each that this process saves one under, older ones "" too
PLAIN = re.compile(rb"P6\n(\d+) (\d+)\n255\n")  # a PPM as `plain` writes it


class UnreadableImage(OSError):
    """An image that cannot be decoded; callers skip it, count it and name it once."""


def read_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnreadableImage: it is missing, cannot be read, is no file, or has more than MOST_BYTES.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= MOST_BYTES:
                return file.read()
    except OSError as error:
        raise UnreadableImage(f"{printable(str(path))} ({type(error).__name__})") from error
    raise UnreadableImage(f"{printable(str(path))} (more than {MOST_BYTES // 10**6} million bytes)")


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded here."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NO_PICTURES)


@cache
def endings() -> frozenset[str]:
    """The endings of files that are decoded here, in lower case with their dots."""
    known, ours = Image.registered_extensions(), frozenset(formats())
    named = {ending: BY_OTHER_NAMES.get(name, name) for ending, name in known.items() if name != NO_ENDING}
    return frozenset(ending for ending, name in named.items() if name in ours)


def decode(data: bytes, name: object, bits: int = DEEPEST) -> np.ndarray:
    """uint8 (H, W, 3) of an image file's bytes, equal to Pillow's `convert("RGB")` but for 16 bits.

    Greys are repeated over the channels, alpha is dropped, of an animation the first frame is taken, CMYK is converted
    without a profile, and a rotation noted in EXIF is not applied: all as torchvision's ImageFolder does. Of 16-bit
    greys the high byte is kept, where Pillow would cut everything above 255.

    Args: name, of the file, for messages. bits, of such greys that are in use, 8 to 16: of these the high byte is kept,
        and what is brighter becomes white.

    Raises:
        UnreadableImage: cut short, damaged, no image, or of more than MOST_PIXELS.
    """
    try:
        if data[:3] == JPEG and (pixels := _decode_jpeg(data)) is not None:
            return pixels
        if data[:2] == b"P6" and (pixels := _read_plain(data)) is not None:
            return pixels
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            _check_size(image)
            return np.array(_to_rgb(image, bits))
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{printable(str(name))} (more than {MOST_PIXELS // 10**6} million pixels)") from error
    except Exception as error:  # decoders of damaged files raise all there is: struct.error, KeyError, MemoryError, ...
        raise UnreadableImage(f"{printable(str(name))} ({type(error).__name__})") from error


def _check_size(image: Image.Image) -> None:
    """Refuse what some of Pillow's readers let pass: the size is known before memory is taken for the pixels."""
    if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """Pillow's pixels in two thirds of its time, or None for what only Pillow reads or should judge."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "Gray") or height * width > MOST_PIXELS:
            return None
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
        return pixels
    except ValueError:
        return None


def plain(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as an uncompressed PPM, which costs next to nothing to decode."""
    height, width = pixels.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def _read_plain(data: bytes) -> np.ndarray | None:
    """What `plain` wrote, or None for any other PPM, which Pillow reads, and for one cut short, which it judges."""
    found = PLAIN.match(data)
    if found is None:
        return None
    width, height = map(int, found.groups())
    if len(data) - found.end() != height * width * 3:
        return None
    return np.frombuffer(data, np.uint8, offset=found.end()).reshape(height, width, 3).copy()  # writable, as torch asks


def _to_rgb(image: Image.Image, bits: int) -> Image.Image:
    if image.mode == "RGB":
        return image  # as it is: a large image is not held twice
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        values = np.asarray(image).clip(0, 2**bits - 1) >> (bits - 8)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
