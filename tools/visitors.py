"""Visitors without a browser: they speak Streamlit's websocket protocol, many at once, and note what they are shown."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

PATIENCE = 180.0  # seconds without a message, after which a visitor gives up
WAITS = re.compile(r"You are (next|number \d+) in line|Another visitor's page|Every model that fits")
TIMED = re.compile(r"on this machine, at the rate of")  # a time, which is another each time
REFUSED = re.compile(r"The server is (too )?busy")
SAYS = {"plotly_chart": "spec", "markdown": "body", "alert": "body", "exception": "message"}  # by kind of element


@dataclass
class Seen:
    """What a run of a page showed. seconds: until it ended; first: until a figure, or the place in the line.

    figures, words: what stands on the page in the end, and its alerts and errors.
    """

    seconds: float = 0.0
    first: float | None = None
    figures: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    waits: int = 0

    @property
    def refused(self) -> bool:
        return any(map(REFUSED.search, self.alerts))

    @property
    def numbers(self) -> str:
        """A digest of the figures and of every text with a digit in it, wherever on the page they stand."""
        words = [said for said in self.words if re.search(r"\d", said) and not TIMED.search(said)]
        shown = sorted(self.figures) + sorted(words)
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


class Visitor:
    """One visitor of the app on a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: websockets.ClientConnection | None = None

    async def open(self, query: Mapping[str, str], page: str = "") -> Seen:
        """Run a page on a link's parameters, and read until it has ended. page: "" is Explore."""
        begun, seen = time.perf_counter(), Seen()
        await self.ask(query, page)
        assert self._socket
        shown: dict[str, tuple[str, str]] = {}
        while True:
            message = ForwardMsg()
            message.ParseFromString(await asyncio.wait_for(self._socket.recv(decode=False), PATIENCE))
            kind = message.WhichOneof("type")
            if kind == "delta":
                self._note(message, seen, shown, begun)
            if kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                break
        seen.seconds = time.perf_counter() - begun
        seen.figures, seen.words, seen.alerts, seen.errors = (
            [said for sort, said in shown.values() if sort == wanted] for wanted in SAYS
        )
        return seen

    async def ask(self, query: Mapping[str, str], page: str = "") -> None:
        """Ask for a page, and do not wait for it."""
        if self._socket is None:
            self._socket = await websockets.connect(
                f"ws://127.0.0.1:{self._port}/_stcore/stream", subprotocols=[websockets.Subprotocol("streamlit")],
                max_size=None, open_timeout=60, ping_interval=None, origin=websockets.Origin(f"http://127.0.0.1:{self._port}"),
            )  # fmt: skip
        message = BackMsg()
        message.rerun_script.query_string = urlencode(query)
        message.rerun_script.page_name = page
        await self._socket.send(message.SerializeToString())

    async def leave(self) -> None:
        """Close the tab, whatever the page does."""
        if self._socket:
            await self._socket.close()
        self._socket = None

    @staticmethod
    def _note(message: ForwardMsg, seen: Seen, shown: dict[str, tuple[str, str]], begun: float) -> None:
        delta, place = message.delta, ".".join(map(str, message.metadata.delta_path))
        if delta.WhichOneof("type") == "add_block":
            for below in [each for each in shown if each.startswith(f"{place}.")]:
                del shown[below]
            return
        element = delta.new_element
        kind = element.WhichOneof("type") or ""
        said = getattr(getattr(element, kind), SAYS[kind]) if kind in SAYS else ""
        shown[place] = kind, said
        waits = kind == "alert" and bool(WAITS.search(said))
        seen.waits += waits
        if seen.first is None and (waits or kind == "plotly_chart" or (kind == "alert" and REFUSED.search(said))):
            seen.first = time.perf_counter() - begun
