"""Every kind of image file gives Pillow's pixels, or is refused in one sentence that names it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers.textured import texture
from pretrain.data import decode as module
from pretrain.data.decode import UnreadableImage, decode

PICTURE = texture(50, 40, 5)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    return encoded(PICTURE, "JPEG", exif=exif)


FILES = {
    "jpeg": encoded(PICTURE, "JPEG", quality=90),
    "jpeg 4:4:4": encoded(PICTURE, "JPEG", quality=90, subsampling=0),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True),
    "grey jpeg": encoded(PICTURE.convert("L"), "JPEG"),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "exif-rotated jpeg": rotated(),
    "png": encoded(PICTURE, "PNG"),
    "grey png": encoded(PICTURE.convert("L"), "PNG"),
    "1-bit png": encoded(PICTURE.convert("1"), "PNG"),
    "palette png": encoded(PICTURE.quantize(16), "PNG"),
    "alpha png": encoded(Image.merge("RGBA", [*PICTURE.split(), PICTURE.convert("L")]), "PNG"),
    "webp": encoded(PICTURE, "WEBP", quality=85),
    "ppm": encoded(PICTURE, "PPM"),
    "grey ppm": encoded(PICTURE.convert("L"), "PPM"),
    "ppm with a comment": encoded(PICTURE, "PPM").replace(b"P6\n", b"P6\n# drawn\n"),
    "1x1 png": encoded(PICTURE.crop((0, 0, 1, 1)), "PNG"),
    "1x1 jpeg": encoded(PICTURE.crop((0, 0, 1, 1)), "JPEG"),
}


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_pillows(kind):
    with Image.open(io.BytesIO(FILES[kind])) as image:
        expected = np.asarray(image.convert("RGB"))
    got = decode(FILES[kind], "x")
    assert got.dtype == np.uint8 and np.array_equal(got, expected)


def test_most_jpegs_do_not_pass_through_pillow(monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    for kind in ("jpeg", "progressive jpeg", "grey jpeg", "exif-rotated jpeg"):
        assert decode(FILES[kind], "x").shape == (40, 50, 3)


def test_a_rotation_in_exif_is_not_applied_as_in_image_folder():
    assert decode(FILES["exif-rotated jpeg"], "x").shape == (40, 50, 3)


def test_transparent_palettes_lose_their_alpha_without_a_warning():
    file = encoded(PICTURE.quantize(16), "PNG", transparency=b"\x00\x80")
    assert np.array_equal(decode(file, "x"), np.asarray(PICTURE.quantize(16).convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    second = Image.new("RGB", PICTURE.size, "red")
    file = encoded(PICTURE, kind, save_all=True, append_images=[second], duration=40)
    with Image.open(io.BytesIO(file)) as image:
        assert image.n_frames == 2
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(file, "x"), expected)
    assert np.abs(decode(file, "x").astype(int) - np.asarray(PICTURE)).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bits_the_high_byte_is_kept(kind):
    deep = np.arange(2000, dtype=np.uint16).reshape(40, 50) * 32
    got = decode(encoded(Image.fromarray(deep), kind), "x")
    assert np.array_equal(got, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, -1))


def png_of(width, height):
    """The head of a grey PNG of any size, with no pixels to speak of."""
    chunks = b""
    for name, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b""))):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_of(width, height):
    """A JPEG whose head claims another size."""
    data = bytearray(FILES["jpeg"])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("file", [png_of(20000, 20000), jpeg_of(20000, 20000)], ids=["png", "jpeg"])
def test_20000_by_20000_pixels_are_refused_before_memory_is_taken_for_them(file):
    with pytest.raises(UnreadableImage, match="huge.jpg .more than 178 million pixels"):
        decode(file, "huge.jpg")
    assert module.MOST_PIXELS == 178956970


BROKEN = {
    "empty": b"",
    "text": b"no image at all",
    "cut jpeg": FILES["jpeg"][: len(FILES["jpeg"]) // 2],
    "jpeg head": FILES["jpeg"][:30],
    "cut png": FILES["png"][: len(FILES["png"]) // 2],
    "cut webp": FILES["webp"][: len(FILES["webp"]) // 2],
    "cut ppm": encoded(PICTURE, "PPM")[:-1],
    "float tiff": encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_decoded_is_refused_by_name(kind):
    with pytest.raises(UnreadableImage, match="^some/file"):
        decode(BROKEN[kind], "some/file")
