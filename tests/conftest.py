"""What several tests share: the embedded models on the bench, loaded once."""

import pytest

from nvib.lab import Bench


@pytest.fixture(scope="session")
def benches():
    """A function: name -> Bench, loaded on first use and kept for the session."""
    kept = {}

    def bench(name):
        if name not in kept:
            kept[name] = Bench(name)
        return kept[name]

    return bench
