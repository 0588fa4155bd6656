"""The server: Streamlit's own, which has the browser fetch the code of the charts at once, not with the first one."""

from __future__ import annotations

import gc
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import plotly.io
import streamlit
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from streamlit.runtime import Runtime

from nvib import assets
from nvib.show import api, counters, draw, journal, resources, sections
from nvib.show.figures import axes
from nvib.show.limits import MB

CODE = Path(streamlit.__file__).parent / "static" / "static" / "js"
UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/")
FILES = 8  # a visitor may have files of as many bytes as so many of the largest
HEAD = 4000  # characters in which a file names what it imports
TURN = 0.0005  # seconds that a thread has before another gets its turn


def needed() -> list[str]:
    """The files of Streamlit's own that draw a chart: the one, and what it imports."""
    charts = sorted(CODE.glob("PlotlyChart.*.js"))
    heads = [path.read_text("utf-8")[:HEAD] for path in charts]
    return [
        *(path.name for path in charts),
        *(name for head in heads for name in re.findall(r'from"\./([^"]+)"', head)),
    ]


def warm() -> None:
    """Does, before the server answers, what is done once only: imports the sections, makes and writes a first figure.

    What is there by then stays: Python need not look for garbage among half a million objects of libraries. And threads
    take turns ten times as often as Python has them do, for whoever is to be told a place waits for many of them.
    """
    for section in iter_modules(sections.__path__):
        import_module(f"{sections.__name__}.{section.name}")
    first = axes.figure([axes.heatmap(z=np.zeros((1, 1)))], 100, {}, {})
    plotly.io.to_json(draw.Ready(axes.inked(first, "light")).to_dict(), validate=False)
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(TURN)


NEEDED = needed()


class Hurried:
    """Adds a header to every page: which file of Streamlit's own to fetch beside it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        root = scope.get("root_path", "")
        links = ", ".join(f"<{root}/static/js/{name}>; rel=modulepreload" for name in NEEDED)

        async def hurried(message: Any) -> None:
            if message["type"] == "http.response.start" and links:
                headers = list(message.get("headers", []))
                if any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                    message = {**message, "headers": [*headers, (b"link", links.encode())]}
            await send(message)

        await self._app(scope, receive, hurried)


class Bounded:
    """Refuses a file of a visitor who has as many bytes of files here as `FILES` of the largest."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        upload = UPLOAD.search(scope.get("path", "")) if scope.get("method") == "PUT" else None
        if upload and held(upload[1]) >= FILES * int(resources.LIMITS.upload_mb) * MB:
            await PlainTextResponse("Too many files; take some away.", 413)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def held(session: str) -> int:
    """The bytes of the files that a visitor's session has here."""
    storage = getattr(Runtime.instance().uploaded_file_mgr, "file_storage", {}) if Runtime.exists() else {}
    return sum(len(file.data) for file in list(storage.get(session, {}).values()))


warm()
journal.open_at(resources.LIMITS.log)
app = streamlit.App(
    assets.shipped("app.py"), routes=[*counters.ROUTES, *api.routes()],
    middleware=[Middleware(Hurried), Middleware(Bounded)], lifespan=api.lifespan,
)  # fmt: skip
