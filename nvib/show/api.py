"""A view's numbers at an address: the command line's own form, behind the same lines and limits as the pages.

GET takes a link's parameters, POST a scenario's .json file; the description is OpenAPI's.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from ipaddress import ip_address
from threading import Event, Thread
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit import config

from nvib import NVError, __version__
from nvib.lab import Observation, Scenario
from nvib.lab.fields import Choice, Field, written
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.share.answer import answer
from nvib.show import boundary, resources
from nvib.show.gate import BusyError

OBSERVE, DESCRIPTION = "/api/observe", "/api/openapi.json"
LOOK = 0.5  # seconds between two looks whether who asked is still there
NO_PAGE = {"cache-control": "no-store"}
MOST = int(resources.LIMITS.line) + int(resources.LIMITS.forwards)  # that wait or have a turn
_going_on: set[Event] = set()
_ended = Event()


class GoneError(Exception):
    """Who asked has left."""


async def observe(request: Request) -> Response:
    """The numbers of a scenario as JSON, or one sentence under `error`.

    Status 422 for what is asked wrongly, 403 for another site's page, 503 where there is no turn now, 500 for an error
    that has no sentence of ours.
    """
    if sentence := strange(request):
        return _refused(sentence, 403)
    if len(_going_on) >= MOST:
        return _refused("The server is busy; come back in a minute.", 503)
    gone = Event()
    _going_on.add(gone)
    try:
        scenario = await _asked(request)
        visitor = f"address {request.client.host if request.client else ''}"
        work = _begun(scenario, visitor, gone)
        while not (await asyncio.wait([work], timeout=LOOK))[0]:
            if _ended.is_set():
                return _refused("The server ends; ask again when it is back.", 503)
            if await request.is_disconnected():
                gone.set()
        return work.result()
    except NVError as error:
        return _refused(str(error), 422)
    finally:
        gone.set()
        _going_on.discard(gone)


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """While the server runs, an order to end ends what is asked for here too: uvicorn waits for every answer."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: FrameType | None) -> None:
        _ended.set()
        act = before[signal.Signals(number)]
        if callable(act):
            act(number, frame)

    for number in before:
        signal.signal(number, end)
    yield


async def _asked(request: Request) -> Scenario:
    """The scenario of a request. Raises NVError with one sentence."""
    if request.method != "POST":
        query = request.query_params
        if twice := next((name for name in query if len(query.getlist(name)) > 1), None):
            raise NVError(f"{twice[:40]!r} was given more than once; give it once.")
        scenario, _, ignored = link.decode(query)
        if ignored:
            raise NVError(" ".join(ignored))
        return scenario
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > link.MOST_BYTES:
            break
    return link.from_json("scenario.json", bytes(data))[0]


def strange(request: Request) -> str:
    """Why a request is not answered: a browser sent it for another site's page; "" for none.

    On a private server the name that was asked for has to be this machine's, so that no other name that leads here can
    be taken for a page of ours.
    """
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "A page of another site asked; open the address itself, or ask from a program."
    host = request.url.hostname or ""
    ours = {config.get_option("server.address"), config.get_option("browser.serverAddress"), "localhost"}
    if resources.LIMITS.is_public or host in ours or host.endswith(".localhost") or _is_number(host):
        return ""
    return (
        f"This server does not know itself as {host[:80]!r}; use its address in numbers, or start it with "
        "--browser.serverAddress and that name."
    )


def _is_number(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _begun(scenario: Scenario, visitor: str, gone: Event) -> asyncio.Future[Response]:
    """The response to a scenario, made in a thread of its own, which no end of the server waits for."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Response] = loop.create_future()

    def tell(response: Response) -> None:
        if not made.done():
            made.set_result(response)

    def work() -> None:
        response = _answered(scenario, visitor, gone)
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(tell, response)

    Thread(target=work, name="observe", daemon=True).start()
    return made


def _answered(scenario: Scenario, visitor: str, gone: Event) -> Response:
    """The response to a scenario; gone: who asked has left."""

    def say(_sentence: str) -> None:
        if gone.is_set():
            raise GoneError

    try:
        with resources.visit(visitor, say, OBSERVE):
            require_given(scenario)
            resources.PAGES.enter()
            bench = resources.bench(scenario.model, scenario.device, scenario.dtype)
            found = answer(bench, scenario).jsonable()
    except GoneError:
        return _refused("Who asked has left.", 499)
    except BusyError as error:
        return _refused(str(error), 503)
    except Exception as error:  # a model's own code, torch and tokenizers raise what they like
        return _refused(boundary.sentence(error), 422 if boundary.is_told(error) else 500)
    return JSONResponse(found, headers=NO_PAGE)


def require_given(scenario: Scenario) -> None:
    """Raise NVError where a scenario asks for more than this server gives, or for what it chooses itself."""
    limits = resources.LIMITS
    if scenario.length > int(limits.new_tokens):
        raise NVError(f"length={scenario.length} is more than the {limits.new_tokens} new tokens that this server "
                      "writes; give less.")  # fmt: skip
    if limits.is_public and (scenario.device or scenario.dtype):
        raise NVError("This server chooses device and precision itself; leave both out.")


def _refused(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, headers=NO_PAGE)


def describe(request: Request) -> Response:
    """What there is to ask for, as OpenAPI has it."""
    return JSONResponse(description(str(request.url.replace(query="")).removesuffix(DESCRIPTION)))


def description(server: str) -> dict[str, Any]:
    """The description of these addresses; server: where they begin."""
    answers = {
        "200": _content("What the app shows of the scenario, as `nvib observe --json` prints it.", ANSWER),
        "403": _content("A browser asked for a page of another site, or under a name that the server does not know."),
        "422": _content("What was asked for is wrong: one sentence says what, and what to do."),
        "500": _content("An error without a sentence of its own, and its number in the server's log."),
        "503": _content("There is no turn now; the sentence says when to come back."),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": link.APP, "version": __version__,
            "description": "The numbers of one view: a model and a text, untouched and under NV regularisation.",
        },
        "servers": [{"url": server}],
        "paths": {
            OBSERVE: {
                "get": {
                    "operationId": "observe", "summary": "The numbers of a link's view.",
                    "parameters": [_parameter(field) for field in FIELDS.values()] + [_packed()],
                    "responses": answers,
                },
                "post": {
                    "operationId": "observeScenario", "summary": "The numbers of a scenario's .json file.",
                    "requestBody": {"required": True, "content": {"application/json": {"schema": FILE}}},
                    "responses": answers,
                },
            }
        },
    }  # fmt: skip


def _parameter(field: Field) -> dict[str, Any]:
    takes = {"enum": list(field.takes.options)} if isinstance(field.takes, Choice) else {}
    return {
        "name": field.name, "in": "query", "description": f"{field.help} It takes {field.takes.words}.",
        "schema": {"type": "string", "default": written(field.default), **takes},
    }  # fmt: skip


def _packed() -> dict[str, Any]:
    says = "The fields as a long link of the app has them, packed; what is given beside it counts more."
    return {"name": "z", "in": "query", "description": says, "schema": {"type": "string"}}


def _content(says: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": says, "content": {"application/json": {"schema": schema or ERROR}}}


TEXT = {"type": "string"}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": TEXT}}
FILE = {
    "type": "object", "required": ["format", "version", "scenario"],
    "properties": {
        "format": {"const": link.APP}, "version": {"enum": list(link.READ)},
        "scenario": {"type": "object", "description": "The fields that are off their defaults, by name."},
    },
}  # fmt: skip
ANSWER = {
    "type": "object",
    "required": ["app", "model", "revision", "fingerprint", "scenario", "observation"],
    "properties": {
        "app": TEXT, "model": TEXT, "revision": TEXT,
        "fingerprint": {**TEXT, "description": "The result in a few numbers, as a link carries it."},
        "scenario": {"type": "object", "description": "The fields that are off their defaults, by name."},
        "observation": {
            "type": "object", "required": [each.name for each in fields(Observation)],
            "description": "By name as nvib.lab.Observation documents them: lists for arrays, null for a number that "
            "is none, \"inf\" for infinity.",
        },
        "comparison": {
            "type": "object",
            "description": "Of a model that writes: what both sides say, and how likely each finds it.",
        },
        "head": {
            "type": "array",
            "description": "Of an encoder with a head: what it says of the row in view, on both sides.",
        },
    },
}  # fmt: skip


def routes() -> list[Route]:
    """These addresses."""
    return [Route(_base() + OBSERVE, observe, methods=["GET", "POST"]), Route(_base() + DESCRIPTION, describe)]


def address(url: str) -> str:
    """Where a server answers that has a page at this URL."""
    page = urlsplit(url)
    return f"{page.scheme}://{page.netloc}{_base()}{OBSERVE}"


def _base() -> str:
    """The server's base path, "" where it has none."""
    return "/".join(("", *filter(None, config.get_option("server.baseUrlPath").split("/"))))
