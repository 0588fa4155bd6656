"""Command line: `python -m nvib models` lists the embedded models, with --prepare it converts what needs it."""

from __future__ import annotations

import argparse
import sys

from nvib import models
from nvib.errors import NVError


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 with one sentence on an error."""
    parser = argparse.ArgumentParser(prog="python -m nvib", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("models", help="the embedded models, and whether each is installed")
    listing.add_argument("--prepare", action="store_true", help="convert what needs converting, once")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.prepare:
            models.prepare(progress=_report)
        else:
            _list_models()
    except NVError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _report(fraction: float, sentence: str) -> None:
    print(f"{fraction:4.0%}  {sentence}", file=sys.stderr, flush=True)


def _list_models() -> None:
    for card in models.CATALOGUE.values():
        state = "installed" if card.installed else "not installed"
        print(f"{card.id:10} {card.architecture:24} {card.revision}: {state}")


if __name__ == "__main__":
    sys.exit(main())
