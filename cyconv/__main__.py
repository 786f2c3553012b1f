"""The command line: `python -m cyconv demo`, `info`, `bench`, `explain`."""

import argparse
import json
import os
import sys
from ast import literal_eval
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

import cyconv
from cyconv._geometry import LIMIT

#: What `explain` takes: ops that have filters to pack.
OPS = [name for name in cyconv.__all__ if "conv" in name and not name.endswith(("_vjp", "_input", "_filter"))]


def positive(text: str) -> int:
    """A number of threads."""
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads (1, 2, ...)")
    return int(text)


def demo(args: argparse.Namespace) -> None:
    """Run every op on a photograph, a signal and a volume, beside the same job in plain NumPy."""
    from . import _demo

    _demo.run(args.image, args.output)


def info(args: argparse.Namespace) -> None:
    """Show what was chosen for this machine and why."""
    from ._info import show_config

    if args.json:
        print(json.dumps(show_config("dict"), indent=2))
    else:
        show_config()


def bench(args: argparse.Namespace) -> None:
    """Time layers of published networks, beside every other library that is installed, in under two minutes."""
    from . import _bench

    _bench.run(cyconv.get_num_threads(), args.peers, args.quick, args.output)


def explain(args: argparse.Namespace) -> None:
    """Show which algorithm a call takes, why it is none of the others, and what it costs."""

    def value(text: str) -> Any:
        try:
            return literal_eval(text)
        except (ValueError, SyntaxError, RecursionError):
            return text

    def shape(text: str) -> tuple[int, ...]:
        if not all(size.isdecimal() for size in text.split("x")):
            raise ValueError(f"{text!r} is neither a shape (1x56x56x64) nor an argument (padding=SAME)")
        return tuple(map(int, text.split("x")))

    try:
        shapes = [shape(text) for text in args.call if "=" not in text]
        settings = {name: value(text) for name, text in (text.split("=", 1) for text in args.call if "=" in text)}
        arrays = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
        print(cyconv.explain(getattr(cyconv, args.op), *arrays, **settings))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentError(None, str(error)) from None


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cyconv", description="TensorFlow's convolution family on NumPy arrays."
    )
    parser.add_argument("--version", action="version", version=f"cyconv {cyconv.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], None], output: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        if output:
            sub.add_argument(
                "--output", type=Path, default=Path(output), metavar="PNG", help="the picture (default: %(default)s)"
            )
            sub.add_argument("--threads", type=positive, metavar="N", help="threads a call (default: as `info` shows)")
        return sub

    command(demo, "cyconv_demo.png").add_argument(
        "image", nargs="?", type=Path, help="your photograph (default: a cat)"
    )
    command(info).add_argument("--json", action="store_true", help="for programs")
    sub = command(bench, "cyconv_bench.png")
    sub.add_argument("--peers", metavar="A,B,...", help="libraries to compare with (default: all that are installed)")
    sub.add_argument("--quick", action="store_true", help="fewer layers and rounds")
    sub = command(explain)
    sub.add_argument("op", choices=OPS, metavar="OP", help=", ".join(OPS))
    sub.add_argument(
        "call",
        nargs="+",
        metavar="SHAPE|NAME=VALUE",
        help="input, filters, arguments: 1x56x56x64 3x3x64x64 padding=SAME",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may have what it cannot encode
    parser = arguments()
    args = parser.parse_args(argv)
    try:
        if hasattr(args, "output"):
            if not args.output.parent.is_dir():
                raise argparse.ArgumentError(None, f"--output: there is no folder {args.output.parent}")
            cyconv.set_num_threads(args.threads)
        args.run(args)
        print(end="", flush=True)  # here, where a reader who has gone is no error
    except BrokenPipeError:  # the reader, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (argparse.ArgumentError, OSError, MemoryError) as error:
        parser.exit(2, f"cyconv: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
