"""The numbers of a view by HTTP: those of the library, behind the lines and limits of the pages, and described."""

import asyncio
import json
from dataclasses import fields, replace
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient
from streamlit import config

from nvib.lab import Observation, Scenario, observe
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.share.fingerprint import differences
from nvib.lab.share.record import record
from nvib.lab.view.comparison import compare
from nvib.show import api, journal, resources
from nvib.show.gate import BusyError, Gate
from tests.support.scenes import SHORT
from tests.support.waiting import until
from tools.serve import serving

ASKED = replace(SHORT["g2p"], encoder_sigma=0.5)


@pytest.fixture
def client():
    with TestClient(Starlette(routes=api.routes()), base_url="http://localhost") as found:
        yield found


def got(client, scenario=ASKED, **headers):
    return client.get(api.OBSERVE, params=link.encode(scenario), headers=headers)


@pytest.mark.parametrize("name", SHORT)
def test_the_numbers_are_those_of_the_library(client, benches, name):
    scenario, bench = SHORT[name], benches(name)
    answer = got(client, scenario)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found, seen = answer.json(), observe(bench, scenario)
    assert found.keys() - {"comparison", "head"} == set(api.ANSWER["required"])
    assert found["observation"].keys() == record(seen).keys() == {each.name for each in fields(Observation)}
    assert differences(seen, found["fingerprint"]) == []
    assert found["observation"]["queries"] == list(seen.queries)
    assert link.from_values("", found["scenario"]) == scenario
    assert ("comparison" in found) == bench.mode.writes
    if bench.mode.writes:
        outputs = compare(bench, scenario, bench.priors.of(scenario)).outputs
        assert found["comparison"]["outputs"] == {side: list(texts) for side, texts in outputs.items()}


def test_the_head_of_an_answer_is_its_own(client):
    assert client.head(api.OBSERVE, params=link.encode(ASKED)).status_code == 200
    assert client.head(f"{api.OBSERVE}?hologram=1").status_code == 422


def test_a_scenarios_file_is_answered_like_its_link(client):
    posted = client.post(api.OBSERVE, content=link.to_json(ASKED, link.Made()))
    assert posted.status_code == 200
    assert posted.json() == got(client).json()
    packed = replace(ASKED, other_text="x " * 700)  # as a long link has it
    assert "z" in link.encode(packed)
    assert got(client, packed).json()["observation"] == posted.json()["observation"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("v=2&model=g2p&text=", "The text is empty"),
        ("v=2&layer=-1", "The link's layer='-1' is not a legal value and was ignored."),
        ("v=2&hologram=1", "The link's 'hologram' is not a control of this app and was ignored."),
        ("v=2&z=x", "The packed part of the link cannot be read"),
        ("v=2&text=a&text=b", "'text' was given more than once; give it once."),
        ("v=2&model=no/such&text=a", "The model 'no/such' is not on this machine"),
        ("v=2&model=g2p&text=a&layer=9&kind=cross", "Layer 9 does not exist in the cross of g2p; the last is 0."),
        ("v=2&model=minilm&text=a&prior=own&prior_id=0123456789ab", "upload it on the page Prior"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence(client, query, sentence):
    answer = client.get(f"{api.OBSERVE}?{query}")
    assert answer.status_code == 422
    assert answer.json().keys() == {"error"}
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no JSON"),
        (b"{}", "is no scenario"),
        (b" " * (link.MOST_BYTES + 9), "a scenario has 4,194,304 at most"),
    ],
)
def test_a_body_that_is_no_scenario_is_one_sentence(client, data, sentence):
    answer = client.post(api.OBSERVE, content=data)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_an_error_of_anothers_code_is_a_number_in_the_log(client, monkeypatch, caplog):
    def broken(*_given):
        raise KeyError("secret")

    monkeypatch.setattr(api, "answer", broken)
    answer = got(client)
    assert answer.status_code == 500
    assert "This page met an error that it does not know (KeyError, number " in answer.json()["error"]
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_a_public_server_answers_within_its_limits(client, public):
    public(NVIB_NEW_TOKENS="8", NVIB_TOKENS="16")
    for scenario, sentence in (
        (replace(ASKED, length=9), "length=9 is more than the 8 new tokens that this server writes; give less."),
        (replace(ASKED, length=8, dtype="int8"), "This server chooses device and precision itself; leave both out."),
        (replace(ASKED, length=8, model="/etc"), "This server has the models smollm2, minilm, g2p, and no other;"),
    ):
        answer = got(client, scenario)
        assert answer.status_code == 422
        assert sentence in answer.json()["error"]
    assert got(client, replace(ASKED, length=8)).status_code == 200


def test_a_line_that_is_full_is_another_status(client, monkeypatch):
    def full(*_given):
        raise BusyError("The server is busy, 1 visitor is waiting for the model already; come back in a minute.")

    monkeypatch.setattr(api, "answer", full)
    answer = got(client)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("The server is busy, 1 visitor")
    monkeypatch.setattr(api, "_going_on", {Event() for _ in range(api.MOST)})
    answer = got(client)
    assert (answer.status_code, answer.json()) == (503, {"error": "The server is busy; come back in a minute."})


def test_it_waits_for_its_turn_like_a_page(client, monkeypatch):
    gate = Gate(1, 9, 60.0)
    monkeypatch.setattr(resources, "GATE", gate)
    bench = resources.bench("g2p")
    assert got(client).status_code == 200
    assert gate.counts["runs"] == 1  # forwards of the bench are behind the gate that it was made with
    assert bench is resources.bench("g2p")


def test_whoever_leaves_ends_the_work(client):
    gone = Event()
    gone.set()
    forwards = []
    hook = resources.bench("g2p").model.register_forward_pre_hook(lambda *_given: forwards.append(1))
    try:
        answer = api._answered(replace(ASKED, text="nobody"), "me", gone)
    finally:
        hook.remove()
    assert answer.status_code == 499
    assert json.loads(answer.body) == {"error": "Who asked has left."}
    assert forwards == []


def test_that_who_asked_has_left_is_seen(monkeypatch):
    left = Event()

    def answered(_scenario, _visitor, gone):
        left.set() if gone.wait(20) else None
        return api._refused("late", 499)

    async def receive():
        return {"type": "http.disconnect"}

    monkeypatch.setattr(api, "_answered", answered)
    scope = {"type": "http", "method": "GET", "query_string": b"v=2", "headers": [(b"host", b"localhost")],
             "path": api.OBSERVE, "server": ("localhost", 80), "scheme": "http", "client": None}  # fmt: skip
    assert asyncio.run(api.observe(Request(scope, receive))).status_code == 499
    assert left.is_set()
    assert not api._going_on


def test_a_server_that_is_to_end_does_not_wait_for_an_answer():
    asked = urlencode(link.encode(replace(ASKED, model="smollm2", text="the cat sat on the mat " * 140, length=200)))
    answers = []

    def ask(address):
        try:
            urlopen(f"{address}{api.OBSERVE}?{asked}")
        except HTTPError as error:
            answers.append((error.code, json.loads(error.read())))

    with serving() as address:  # which waits for its end, and not for long
        thread = Thread(target=ask, args=(address,))
        thread.start()
        until(lambda: b'nvib_turns_total{gate="models"} 0.0' not in urlopen(f"{address}/metrics").read())
    thread.join(20)
    assert answers == [(503, {"error": "The server ends; ask again when it is back."})]


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_another_sites_page_is_not_answered(client, site, status):
    answer = got(client, **{"sec-fetch-site": site})
    assert answer.status_code == status
    if status == 403:
        sentence = "A page of another site asked; open the address itself, or ask from a program."
        assert answer.json() == {"error": sentence}


@pytest.mark.parametrize(
    ("host", "known"),
    [("localhost:8501", True), ("nvib.localhost", True), ("127.0.0.1", True), ("192.168.1.20:8501", True),
     ("[::1]:8501", True), ("evil.example", False), ("localhost.evil.example", False), ("nvib", False)],
)  # fmt: skip
def test_a_private_server_answers_under_its_own_names(client, public, host, known):
    answer = got(client, host=host)
    assert answer.status_code == (200 if known else 403)
    if not known:
        assert "This server does not know itself as" in answer.json()["error"]
    public()
    assert got(client, replace(ASKED, length=8), host=host).status_code == 200


def test_a_name_that_the_server_was_given_is_its_own(client):
    config.set_option("browser.serverAddress", "nvib.example.org")
    try:
        assert got(client, host="nvib.example.org").status_code == 200
    finally:
        config.set_option("browser.serverAddress", "localhost")


def test_the_description_is_openapis_and_has_every_field(client):
    found = client.get(api.DESCRIPTION).json()
    validate(found)
    assert found["servers"] == [{"url": "http://localhost"}]
    asked = {each["name"]: each for each in found["paths"][api.OBSERVE]["get"]["parameters"]}
    assert asked.keys() == FIELDS.keys() | {"z"}
    for name, field in FIELDS.items():
        assert field.help in asked[name]["description"]
        assert field.parse(asked[name]["schema"]["default"]) == getattr(Scenario(), name)
    posted = found["paths"][api.OBSERVE]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert json.loads(link.to_json(ASKED, link.Made())).keys() >= set(posted["required"])


def test_a_server_below_a_path_answers_there(monkeypatch):
    config.set_option("server.baseUrlPath", "/lab/nvib/")
    try:
        client = TestClient(Starlette(routes=api.routes()), base_url="http://localhost")
        assert got(client).status_code == 404
        assert client.get("/lab/nvib/api/observe", params=link.encode(ASKED)).status_code == 200
        assert client.get("/lab/nvib/api/openapi.json").json()["servers"] == [{"url": "http://localhost/lab/nvib"}]
        assert api.address("https://a.example:8/lab/nvib/Compare?x=1") == "https://a.example:8/lab/nvib/api/observe"
    finally:
        config.set_option("server.baseUrlPath", "")


def test_the_journal_has_its_runs(client, tmp_path):
    journal.open_at(str(tmp_path / "journal"))
    try:
        assert got(client).status_code == 200
        assert client.get(f"{api.OBSERVE}?v=2&model=g2p&text=").status_code == 422
    finally:
        journal.open_at("")
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text("utf-8").splitlines()]
    assert [(line["page"], line["outcome"]) for line in lines] == [(api.OBSERVE, "done"), (api.OBSERVE, "refused")]
    assert ASKED.text not in (tmp_path / "journal").read_text("utf-8")
