"""What can be asked of a server past its pages: files of the machine, another origin, messages that no page sends."""

import http.client
from urllib.parse import urlsplit

import pytest
import websockets.sync.client as websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tools.serve import serving
from tools.visitors import put

PLACES = ("/", "/static/", "/media/", "/component/", "/_stcore/", "/_stcore/bidi-components/", "/app/static/")
CLIMBS = (
    "../" * 8 + "etc/passwd", "..%2f" * 8 + "etc/passwd", "%2e%2e/" * 8 + "etc/passwd", "..\\" * 8 + "etc\\passwd",
    "....//" * 8 + "etc/passwd", "%00/etc/passwd", "/etc/passwd", "..%252f" * 8 + "etc/passwd",
)  # fmt: skip
OF_THE_SERVER = ("app.py", "requirements.txt", ".streamlit/config.toml", ".git/config", "nvib/show/server.py")


def body(server, path, method="GET"):
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_the_machine_is_served(shared, place):
    for climb in CLIMBS:
        status, said = body(shared, place + climb)
        assert b"root:" not in said, climb
        assert status < 500, climb
    for name in OF_THE_SERVER:
        _, said = body(shared, place + name)
        assert b"streamlit" not in said or b"<!doctype html>" in said.lower(), name
        assert b"[core]" not in said


def connect(server, origin):
    netloc = urlsplit(server).netloc
    return websockets.connect(
        f"ws://{netloc}/_stcore/stream", origin=origin, subprotocols=["streamlit"], open_timeout=30, max_size=None
    )


def test_a_page_of_another_site_has_no_session_here(shared):
    with pytest.raises(InvalidStatus) as refused, connect(shared, "http://example.org"):
        pass
    assert refused.value.response.status_code == 403
    with connect(shared, f"http://{urlsplit(shared).netloc}"):
        pass


def ended(socket):
    """What alerts and errors a run shows until it ends."""
    said = []
    while True:
        message = ForwardMsg()
        message.ParseFromString(socket.recv(timeout=120, decode=False))
        element = message.delta.new_element
        if element.WhichOneof("type") in ("alert", "exception"):
            said.append((element.WhichOneof("type"), element.alert.body))
        if message.WhichOneof("type") == "script_finished":
            return said


def asked(values, page=""):
    """A message that no page sends: widgets with values of their own."""
    message = BackMsg()
    message.rerun_script.query_string = "model=g2p&text=treaty&v=2"
    message.rerun_script.page_name = page
    for name, value in values.items():
        state = message.rerun_script.widget_states.widgets.add()
        state.id = name
        if isinstance(value, str):
            state.string_value = value
        elif isinstance(value, list):
            state.double_array_value.data.extend(value)
        else:
            state.int_value = value
    return message.SerializeToString()


@pytest.mark.parametrize(
    "messages",
    [
        [b""], [asked({"$$ID-x-scenario_layer": 10**12})],
        [asked({"$$ID-x-scenario_text": "\x00" * 1000})],
        [asked({"x" * 10_000: [float("nan")] * 1000})], [asked({}, "../../etc/passwd")], [asked({}, "No such page")],
    ],
    ids=["nothing", "layer", "text", "many", "path", "page"],
)  # fmt: skip
def test_a_message_that_no_page_sends_leaves_the_server_and_the_session(shared, messages):
    """The next honest request of the same visitor is answered, and no traceback is shown."""
    with connect(shared, f"http://{urlsplit(shared).netloc}") as socket:
        for message in messages:
            socket.send(message)
        socket.send(asked({}))
        assert not [body for kind, body in ended(socket) if kind == "exception"]
    assert body(shared, "/_stcore/health") == (200, b"ok")


def test_noise_ends_its_own_connection_alone(shared):
    """Bytes that are no message: whoever sends them may connect anew."""
    origin = f"http://{urlsplit(shared).netloc}"
    with connect(shared, origin) as socket:
        socket.send(b"\xff" * 100)
        with pytest.raises(ConnectionClosedError):
            ended(socket)
    with connect(shared, origin) as socket:
        socket.send(asked({}))
        assert not [body for kind, body in ended(socket) if kind == "exception"]


ORDERS = {
    "shut down": lambda m: setattr(m, "debug_shutdown_runtime", True),
    "disconnect": lambda m: setattr(m, "debug_disconnect_websocket", True),
    "clear the cache": lambda m: setattr(m, "clear_cache", True),
    "tell of the repository": lambda m: setattr(m, "load_git_info", True),
    "run on save": lambda m: setattr(m, "set_run_on_save", True),
    "install skills": lambda m: m.backend_operation_request.install_skills.SetInParent(),
    "dismiss them": lambda m: m.backend_operation_request.dismiss_skills_nudge.SetInParent(),
    "give another's file": lambda m: setattr(m.backend_operation_request.deferred_file, "file_id", "0" * 32),
}


@pytest.fixture(scope="module")
def homely(tmp_path_factory):
    """A server whose home and cache are folders of its own, with where they are."""
    home = tmp_path_factory.mktemp("home")
    with serving(HOME=str(home), NVIB_CACHE=str(home / "cache")) as address:
        yield address, home


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_an_order_to_the_server_is_not_taken_from_a_visitor(homely, order):
    """Messages of Streamlit's own protocol that are for developers: the server goes on, and nothing is written."""
    server, home = homely
    message = BackMsg()
    order(message)
    with connect(server, f"http://{urlsplit(server).netloc}") as socket:
        socket.send(message.SerializeToString())
        socket.send(asked({}))
        assert not [body for kind, body in ended(socket) if kind == "exception"]
    assert body(server, "/_stcore/health") == (200, b"ok")
    written = [path for path in home.rglob("*") if path.is_file() and not path.is_relative_to(home / "cache")]
    assert not written


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "TRACE"])
def test_what_is_told_is_only_read(shared, method):
    for path in ("/metrics", "/ready", "/_stcore/health"):
        status, _ = body(shared, path, method)
        assert status in (403, 404, 405), path


def test_files_without_end_are_refused(homely):
    """A visitor's files take so much memory and no more, also where no page asked for them."""
    server, _ = homely
    parts = urlsplit(server)
    with connect(server, f"http://{parts.netloc}") as socket:
        socket.send(asked({}))
        message = ForwardMsg()
        while message.WhichOneof("type") != "new_session":
            message.ParseFromString(socket.recv(timeout=120, decode=False))
        session = message.new_session.initialize.session_id
        statuses = [
            put(parts.port, f"/_stcore/upload_file/{session}/{n}", "a.txt", bytes(4 * 10**6)) for n in range(14)
        ]
    assert statuses[:8] == [204] * 8
    assert statuses[-1] == 413
    assert put(parts.port, "/_stcore/upload_file/nobody/1", "a.txt", b"x") == 400
