"""Waiting for other threads."""

import threading


def until(true):
    """Until something is true, ten seconds at most."""
    for _ in range(2000):
        if true():
            return
        moment()
    raise AssertionError("it never came to that")


def moment(seconds=0.005):
    """Let other threads go on."""
    threading.Event().wait(seconds)
