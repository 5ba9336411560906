"""`forebay crds`: the CustomResourceDefinitions, to standard output or into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write one file per kind into this folder instead of printing")


def run(args: argparse.Namespace) -> int:
    from forebay.api.crd import rendered_files

    files = rendered_files()
    if args.out is None:
        print("---\n".join(files.values()), end="")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (args.out / name).write_text(text)
    return 0
