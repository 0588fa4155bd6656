"""The server: Streamlit's own, which has the browser fetch the code of the charts at once, not with the first one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import streamlit
from starlette.middleware import Middleware

import nvib.lab.view.batch
import nvib.lab.view.comparison
import nvib.show.sections.sweep_plan
import nvib.show.sections.sweep_results
import nvib.show.sections.sweep_run
import nvib.show.share  # noqa: F401  # what the pages need is here before the server answers
from nvib import assets

CODE = Path(streamlit.__file__).parent / "static" / "static" / "js"
HEAD = 4000  # characters in which a file names what it imports


def needed() -> list[str]:
    """The files of Streamlit's own that draw a chart: the one, and what it imports."""
    charts = sorted(CODE.glob("PlotlyChart.*.js"))
    heads = [path.read_text("utf-8")[:HEAD] for path in charts]
    return [
        *(path.name for path in charts),
        *(name for head in heads for name in re.findall(r'from"\./([^"]+)"', head)),
    ]


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


app = streamlit.App(assets.shipped("app.py"), middleware=[Middleware(Hurried)])
