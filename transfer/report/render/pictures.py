"""Pictures for the page: read, made smaller, and encoded."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pretrain.runtime.files import write_atomically


@dataclass(frozen=True)
class Picture:
    """An image file on its way into a report; `most` bounds its width in pixels."""

    path: Path
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

    def as_png(self, path: Path) -> Path:
        """As a PNG file of its own, written atomically."""
        picture = self.open()
        return write_atomically(path, lambda temporary: picture.save(temporary, "PNG", optimize=True))

    def problem(self) -> str | None:
        """Why the file cannot be shown, or None."""
        try:
            self.open()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return f"{self.path} cannot be shown ({' '.join(str(error).split())})."
        return None
