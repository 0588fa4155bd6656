"""Work that tells how far it is, and is stopped there."""

import pytest


class Left(Exception):
    """What the page raises in a run whose visitor left."""


def told_until_left(run):
    """What work tells its progress, which is left at the second word; that ends it, and comes through."""
    told = []

    def progress(done, count):
        told.append((done, count))
        if done == 2:
            raise Left

    with pytest.raises(Left):
        run(progress)
    return told
