"""Waiting for other threads."""

import time


def until(true):
    """Until something is true, ten seconds at most."""
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never came to that")
