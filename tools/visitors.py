"""Visitors without a browser: they speak Streamlit's websocket protocol, many at once, and note what they are shown."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

PATIENCE = 180.0  # seconds without a message, after which a visitor gives up
WAITS = re.compile(r"You are (next|number \d+) in line|Another visitor's page|Every model that fits")
TIMED = re.compile(r"on this machine, at the rate of")  # a time, which is another each time
REFUSED = re.compile(r"The server is (too )?busy")
PRESSED = ("button", "file_uploader")  # widgets that a visitor here can use
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
    """One visitor of the app on a port of this machine.

    cookies: those it comes with, and gets; address: the parameters that its page has in the address bar.
    """

    def __init__(self, port: int, **cookies: str) -> None:
        self._port = port
        self.cookies, self.address = cookies, dict[str, str]()
        self._socket: websockets.ClientConnection | None = None
        self._query = BackMsg()  # the last page that was asked for
        self._session = ""
        self._widgets: dict[str, str] = {}  # of the last run, by what they say

    async def open(self, query: Mapping[str, str], page: str = "") -> Seen:
        """Run a page on a link's parameters, and read until it has ended. page: "" is Explore."""
        begun = time.perf_counter()
        await self.ask(query, page)
        return await self._read(begun)

    async def press(self, button: str) -> Seen:
        """Press the button whose label has this in it, and read until the run that it begins has ended."""
        begun = time.perf_counter()
        await self.ask_for(button)
        return await self._read(begun)

    async def ask_for(self, button: str) -> None:
        """Press a button, and do not wait for what comes of it."""
        widget = self._again().rerun_script.widget_states.widgets.add()
        widget.id, widget.trigger_value = self._widget(button), True
        await self._send(self._query)

    async def upload(self, box: str, name: str, data: bytes) -> Seen:
        """Give a file to the box whose label has this in it, and read until the run that it begins has ended."""
        begun = time.perf_counter()
        asks = BackMsg()
        asks.file_urls_request.request_id = name
        asks.file_urls_request.file_names.append(name)
        asks.file_urls_request.session_id = self._session
        await self._send(asks)
        while True:
            message = await self._message()
            if message.WhichOneof("type") == "file_urls_response":
                break
        urls = message.file_urls_response.file_urls[0]
        status = await asyncio.to_thread(put, self._port, urls.upload_url, name, data, self.cookies)
        if status >= 300:
            raise RuntimeError(f"The server answers {status} to a file.")
        widget = self._again().rerun_script.widget_states.widgets.add()
        widget.id = self._widget(box)
        file = widget.file_uploader_state_value.uploaded_file_info.add()
        file.file_id, file.name, file.size = urls.file_id, name, len(data)
        file.file_urls.CopyFrom(urls)
        await self._send(self._query)
        return await self._read(begun)

    def has(self, label: str) -> bool:
        """Whether the last page has a button or a box whose label has this in it."""
        return any(label in said for said in self._widgets)

    def _widget(self, label: str) -> str:
        found = [name for said, name in self._widgets.items() if label in said]
        if not found:
            raise RuntimeError(f"No widget on the page has {label!r} in its label; there are {sorted(self._widgets)}.")
        return found[0]

    def _again(self) -> BackMsg:
        self._query.rerun_script.ClearField("widget_states")
        return self._query

    async def _message(self) -> ForwardMsg:
        assert self._socket
        message = ForwardMsg()
        message.ParseFromString(await asyncio.wait_for(self._socket.recv(decode=False), PATIENCE))
        return message

    async def _send(self, message: BackMsg) -> None:
        assert self._socket
        await self._socket.send(message.SerializeToString())

    async def _read(self, begun: float) -> Seen:
        """What a run shows until it has ended."""
        seen = Seen()
        shown: dict[str, tuple[str, str]] = {}
        while True:
            message = await self._message()
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self._session = message.new_session.initialize.session_id
                self._widgets = {}
            if kind == "page_info_changed":
                self.address = dict(parse_qsl(message.page_info_changed.query_string, keep_blank_values=True))
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
                max_size=None, open_timeout=60, close_timeout=0.1, ping_interval=None,
                origin=websockets.Origin(f"http://127.0.0.1:{self._port}"),
                additional_headers={"Cookie": _said(self.cookies)} if self.cookies else {},
            )  # fmt: skip
            assert self._socket.response
            for given in self._socket.response.headers.get_all("Set-Cookie"):
                self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(given).items()}
        self._query = BackMsg()
        self._query.rerun_script.query_string = urlencode(query)
        self._query.rerun_script.page_name = page
        await self._send(self._query)

    async def leave(self) -> None:
        """Close the tab, whatever the page does."""
        if self._socket:
            await self._socket.close()
        self._socket = None

    def _note(self, message: ForwardMsg, seen: Seen, shown: dict[str, tuple[str, str]], begun: float) -> None:
        delta, place = message.delta, ".".join(map(str, message.metadata.delta_path))
        if delta.WhichOneof("type") == "add_block":
            for below in [each for each in shown if each.startswith(f"{place}.")]:
                del shown[below]
            return
        element = delta.new_element
        kind = element.WhichOneof("type") or ""
        if kind in PRESSED:
            self._widgets[getattr(element, kind).label] = getattr(element, kind).id
        said = getattr(getattr(element, kind), SAYS[kind]) if kind in SAYS else ""
        shown[place] = kind, said
        waits = kind == "alert" and bool(WAITS.search(said))
        seen.waits += waits
        if seen.first is None and (waits or kind == "plotly_chart" or (kind == "alert" and REFUSED.search(said))):
            seen.first = time.perf_counter() - begun


def _said(cookies: Mapping[str, str]) -> str:
    """Cookies as a header has them."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def put(port: int, url: str, name: str, data: bytes, cookies: Mapping[str, str] = MappingProxyType({})) -> int:
    """Send a file's bytes, as a page of a server of this machine does; returns the answer's status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/_stcore/health", headers={"Cookie": _said(cookies)})
    answer = connection.getresponse()
    answer.read()
    given = SimpleCookie()
    for line in answer.headers.get_all("Set-Cookie", []):
        given.load(line)
    token = given.get("_streamlit_xsrf")
    mark = hashlib.sha256(data).hexdigest()
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    if token:
        headers |= {"X-Xsrftoken": token.value, "Cookie": _said({**cookies, "_streamlit_xsrf": token.value})}
    connection.request("PUT", url, head.encode() + data + f"\r\n--{mark}--\r\n".encode(), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status
