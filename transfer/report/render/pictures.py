"""Pictures of a report: read, made smaller, and encoded."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pretrain.runtime.files import write_atomically


@dataclass(frozen=True)
class Figure:
    """An image file with its words. key: names its file beside the Markdown. alt: "" for the caption's words.

    most: bounds its width in pixels.
    """

    path: Path
    key: str
    caption: str
    alt: str = ""
    most: int = 1100

    def open(self) -> Image.Image:
        """The picture as RGB, at most `most` pixels wide.

        Raises:
            OSError: the file is missing or cannot be decoded.
        """
        with Image.open(self.path) as image:
            picture = image.convert("RGB")
        if picture.width > self.most:
            height = max(1, round(picture.height * self.most / picture.width))
            picture = picture.resize((self.most, height), Image.Resampling.LANCZOS)
        return picture

    def as_data_uri(self) -> str:
        """As WebP within the page: about a tenth of the PNG's bytes."""
        buffer = io.BytesIO()
        self.open().save(buffer, "WEBP", quality=75, method=4)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def file(self) -> str:
        """Name of its PNG file beside the Markdown."""
        return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in self.key) + ".png"

    def write(self, folder: Path) -> None:
        """Write the PNG file into `folder`, atomically."""
        picture = self.open()
        write_atomically(folder / self.file(), lambda temporary: picture.save(temporary, "PNG", optimize=True))

    def readable(self, notes: list[str]) -> bool:
        """Whether the file can be shown; if not, `notes` gets a sentence why."""
        try:
            self.open()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            notes.append(f"{self.path} cannot be shown ({' '.join(str(error).split())}).")
            return False
        return True
