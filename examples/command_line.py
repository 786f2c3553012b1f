"""What the example programs have in common: folders and photographs on the command line, and the picture they write."""

import io
import os
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib
    import tqdm  # noqa: F401  (missing packages are named here, once for all programs)
    from matplotlib.figure import Figure
    from PIL import Image, ImageOps
except ImportError as error:
    raise SystemExit(f"{error.name} is not installed; the examples need it: pip install 'cyconv[examples]'") from None

Array = np.ndarray[Any, Any]
ACCENT, GREY = "#b8430f", "#666666"
matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def existing(path: Path | str) -> Path:
    """A file or folder that must be there."""
    if not Path(path).exists():
        raise SystemExit(f"there is no {path} (nothing is downloaded; --help says which folders are needed)")
    return Path(path)


def positive(text: str) -> int:
    """How often, or how many: 1, 2, ..."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not 1, 2, ...")
    return int(text)


def picture(text: str) -> Path:
    """A file in a folder that must be there, before anything is computed."""
    if not Path(text).parent.is_dir():
        raise ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return Path(text)


def parser(description: str | None, output: str, *folders: str) -> ArgumentParser:
    """A parser with an option for the picture and for each folder, "models" and "data"."""
    made = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    for name in folders:
        default = os.environ.get(f"CYCONV_{name.upper()}", name)
        text = f"folder of the {name} (default: $CYCONV_{name.upper()}, else ./{name})"
        made.add_argument(f"--{name}", type=existing, default=default, metavar="DIR", help=text)
    made.add_argument(
        "--output", type=picture, default=output, metavar="PNG", help="the picture (default: %(default)s)"
    )
    return made


def photograph(path: str) -> Image.Image:
    """An image file: RGB, upright."""
    try:
        with Image.open(existing(path)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits: convert would make all from 255 on white
                upright = Image.fromarray((np.asarray(upright) // 256).clip(0, 255).astype(np.uint8))
            return upright.convert("RGB")
    except Exception as error:  # a dozen kinds, struct.error of a broken Exif block among them
        raise SystemExit(f"{path} is not an image that Pillow can read: {error}") from None


def square(image: Image.Image, size: int) -> Array:
    """The middle square of an image, resized to (size, size, 3), uint8."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG with a palette, a third of the bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"picture: {path}")
