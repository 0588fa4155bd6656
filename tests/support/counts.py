"""How many made-up things are tried: a few among the other tests, all where someone asks for it."""

import os

FUZZ = int(os.environ.get("NVIB_FUZZ", "1200"))  # links, files and texts, of all kinds together
FEW = FUZZ <= 2000


def so_many(whole, few):
    """The whole number where NVIB_FUZZ asks for more than the suite's own."""
    return few if FEW else whole
