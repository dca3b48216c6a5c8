"""Every kind of image file gives Pillow's pixels, or is refused in one sentence that names it."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from helpers.textured import texture
from pretrain.data import decode as module
from pretrain.data.decode import UnreadableImage, decode, formats, read_file

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


def bmp_of(width, height):
    """The head of a BMP of any size."""
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def tiff_of(width, height):
    """The head of an RGB TIFF of any size, in one strip."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 100)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + b"\0" * 4


VAST = {
    "png": png_of(20000, 20000),
    "jpeg": jpeg_of(20000, 20000),
    "larger png": png_of(60000, 60000),
    "larger jpeg": jpeg_of(60000, 60000),
    "bmp": bmp_of(60000, 60000),
    "tiff": tiff_of(60000, 60000),
    "ppm": b"P6\n60000 60000\n255\n",
    "grey ppm": b"P5\n60000 60000\n255\n",
    "long png": png_of(1, 2**30),
}


@pytest.mark.parametrize("file", VAST.values(), ids=VAST)
def test_vast_pictures_are_refused_before_memory_is_taken_for_them(file):
    tracemalloc.start()
    with pytest.raises(UnreadableImage, match="huge.jpg .more than 178 million pixels"):
        decode(file, "huge.jpg")
    assert tracemalloc.get_traced_memory()[1] < 2**22 and tracemalloc.stop() is None
    assert module.MOST_PIXELS == 178956970


def saved(kind):
    """The picture in a format of Pillow's, in the first mode that it takes; None where it writes none."""
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        with contextlib.suppress(Exception):
            return encoded(PICTURE.convert(mode), kind)
    return None


def test_no_ending_is_an_images_because_this_process_saved_one_under_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))
    for name in ("notes.txt", "README"):
        PICTURE.convert("F").save(tmp_path / name, "SPIDER")
    assert Image.registered_extensions()[".txt"] == "SPIDER"
    found = module.endings.__wrapped__()
    assert not {".txt", ""} & found and {".png", ".jpg"} <= found


Image.init()
KINDS = {kind: data for kind in sorted(set(Image.SAVE) & set(formats())) if (data := saved(kind))}


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it meets
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_damaged_gives_pixels_or_is_refused_by_name(kind):
    """Bytes are changed at random, runs of them overwritten, and the file is cut: no other exception comes out."""
    generator, whole = np.random.default_rng(list(kind.encode())), KINDS[kind]
    for attempt in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        places = generator.integers(0, min(len(data), 400 if attempt % 2 else len(data)), 1 + attempt % 8)
        data[places] = generator.integers(0, 256, len(places))
        start = int(generator.integers(0, len(data)))
        data[start : start + (attempt % 3) * 4] = 255
        try:
            pixels = decode(data.tobytes()[: len(data) - (attempt % 5 == 4) * len(data) // 3], "some/file")
        except UnreadableImage as error:
            assert str(error).startswith("some/file (")
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


class Odd(Exception):
    """An exception that no decoder has raised yet."""


@pytest.mark.parametrize(
    "error", [struct.error, SyntaxError, IndexError, MemoryError, RecursionError, NotImplementedError, Odd]
)
def test_an_exception_of_any_kind_is_an_unreadable_image(error):
    """Pillow asks a plugin, as the libraries for HEIF and JPEG XL bring them; this one fails as theirs have failed."""

    def fails(file, name):
        raise error("as a plugin does")

    Image.register_open("ODD", fails, lambda prefix: prefix.startswith(b"odd!"))
    formats.cache_clear()
    try:
        with pytest.raises(UnreadableImage, match="^some/file"):
            decode(b"odd! and more", "some/file")
    finally:
        Image.ID.remove("ODD")
        del Image.OPEN["ODD"]
        formats.cache_clear()


def test_no_other_program_is_asked_to_draw_a_file(monkeypatch):
    """Pillow hands PostScript to Ghostscript, which runs it as a program, whatever ending the file has."""
    file = encoded(PICTURE, "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was asked"))
    with pytest.raises(UnreadableImage):
        decode(file, "x.jpg")


def test_a_file_of_more_bytes_than_pixels_could_need_is_refused_unread(tmp_path):
    with open(tmp_path / "vast.tif", "wb") as file:
        file.truncate(2**40)  # a hole: it takes no room on the disk
    with pytest.raises(UnreadableImage, match=r"vast.tif .more than 1431 million bytes"):
        read_file(tmp_path / "vast.tif")
    (tmp_path / "small.tif").write_bytes(b"II*\0")
    assert read_file(tmp_path / "small.tif") == b"II*\0"


def test_names_that_are_not_utf_8_are_told_with_escapes(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9\n.jpg")
    with pytest.raises(UnreadableImage) as told:
        read_file(path)
    assert str(told.value) == f"{tmp_path}/caf\\xe9\\n.jpg (FileNotFoundError)"
    with pytest.raises(UnreadableImage, match=r"caf\\xe9\\n.jpg"):
        decode(b"", path)


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
