"""The QR code of a link: read back by a decoder of its own, and honest about addresses that nobody else can open."""

import re
from types import SimpleNamespace
from unittest.mock import MagicMock
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from nvib.show import qr
from tests.support.pages import opened

SVG = "{http://www.w3.org/2000/svg}"
MASKS = [
    lambda i, j: (i + j) % 2, lambda i, j: i % 2, lambda i, j: j % 3, lambda i, j: (i + j) % 3,
    lambda i, j: (i // 2 + j // 3) % 2, lambda i, j: i * j % 2 + i * j % 3, lambda i, j: (i * j % 2 + i * j % 3) % 2,
    lambda i, j: ((i + j) % 2 + i * j % 3) % 2,
]  # fmt: skip


def modules(picture):
    """What a picture has dark, [rows, columns], its quiet zone left out: runs of its path, from the SVG itself."""
    root = ElementTree.fromstring(unquote(picture.partition(",")[2]))
    ground, dark = root.findall(f"{SVG}path")
    assert (ground.get("fill"), dark.get("stroke")) == ("#fff", "#000")
    size = int(root.get("viewBox").split()[-1])
    grid, x, y = np.zeros((size, size), bool), 0.0, 0.0
    for command, numbers in re.findall(r"([MmhHv])([-\d. ]*)", dark.get("d")):
        values = [float(number) for number in numbers.split()]
        if command in "Mm":
            x, y = (values[0], values[1]) if command == "M" else (x + values[0], y + values[1])
        else:
            grid[int(y), int(x) : int(x + values[0])] = True
            x += values[0]
    assert not grid[:4].any()
    assert not grid[:, :4].any()
    return grid[4:-4, 4:-4]


def read(grid):
    """The text of a code of one block (versions 2 to 5, the lowest correction) in bytes, errors not corrected."""
    size = len(grid)
    version = (size - 17) // 4
    assert 2 <= version <= 5
    taken = np.zeros_like(grid)
    taken[:9, :9] = taken[:9, -8:] = taken[-8:, :9] = taken[6] = taken[:, 6] = True
    taken[size - 9 : size - 4, size - 9 : size - 4] = True  # the one alignment pattern
    mask = int("".join(str(int(bit)) for bit in grid[8, 2:5]), 2) ^ 0b101  # of the format, which is masked too
    bits, up, column = [], True, size - 1
    while column > 0:
        column -= column == 6
        for row in range(size - 1, -1, -1) if up else range(size):
            for at in (column, column - 1):
                if not taken[row, at]:
                    bits.append(int(grid[row, at]) ^ (MASKS[mask](row, at) == 0))
        column, up = column - 2, not up
    data = "".join(map(str, bits))
    assert data[:4] == "0100"  # bytes
    length = int(data[4:12], 2)
    return bytes(int(data[12 + 8 * n : 20 + 8 * n], 2) for n in range(length)).decode()


@pytest.mark.parametrize(
    "address",
    ["http://192.168.1.20:8501/?v=2", "http://10.0.0.7:8501/Compare?v=2&model=minilm&text=one+two+three&mu=0.9"],
)
def test_the_picture_says_the_address(address):
    assert read(modules(qr.picture(address))) == address


def test_the_longest_link_has_a_code():
    assert len(modules(qr.picture("http://192.168.100.200:8501/Pseudo-counts?" + "z" * 2000))) > 100


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_addresses_of_this_machine(host):
    assert qr.of_this_machine(f"http://{host}:8501/Compare?v=2")


@pytest.mark.parametrize("host", ["192.168.1.20", "example.org", "localhost.example.org", "[fe80::1]", "1.127.0.0"])
def test_addresses_for_others(host):
    assert not qr.of_this_machine(f"http://{host}:8501/?v=2")


@pytest.mark.parametrize(
    ("url", "alone"), [("http://127.0.0.1:8501/Prior", True), ("http://192.168.1.20:8501/Prior", False)]
)
def test_the_popover_has_the_address_and_a_picture_for_others(monkeypatch, url, alone):
    app = opened("Prior", v="2", model="minilm", text="the cat", encoder_sigma="0.4")
    monkeypatch.setattr(type(qr.st.context), "url", url)
    app.session_state["qr"] = True
    app.run()
    assert not app.exception
    (code,) = [code.value for code in app.code if "?" in code.value]
    assert code.startswith(f"{url}?v=2&model=minilm&text=the+cat")
    assert "fp=" in code
    assert any(qr.picture(code) in text.value for text in app.markdown) != alone
    told = (
        "Only this machine can open this address, so it has no code here. Serve with NVIB_PUBLIC=1 nvib serve --lan, "
        "and open the page by the address that it prints."
    )
    assert [note.value for note in app.warning] == [told] * alone


def test_a_view_that_no_link_holds_has_no_code(monkeypatch):
    shown = []
    opened = MagicMock()
    opened.__enter__.return_value.open = True
    monkeypatch.setattr(qr, "st", SimpleNamespace(popover=lambda *_, **__: opened, info=shown.append))
    qr.popover("")
    assert shown == ["The view is too long for a link, so there is no code of it: Export saves it as a .json scenario."]
