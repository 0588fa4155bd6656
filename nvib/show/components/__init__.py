"""What Streamlit has no widget for: a folder a component, its Python and its files for the browser together."""

from pathlib import Path


def part(*path: str) -> str:
    """A file for the browser, by its folder and name."""
    return Path(__file__).parent.joinpath(*path).read_text("utf-8")
