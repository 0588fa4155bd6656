"""Text from links and files that no model can take: a page says so in one sentence, and goes on."""

import base64
import json
import zlib

from nvib.lab.share import link
from nvib.show.session import key
from tests.support.pages import opened


def test_a_packed_link_with_half_a_character_opens_and_says_so():
    fields = {"model": "g2p", "text": "caf\ud800", "prior_text": "\udfff"}
    packed = base64.urlsafe_b64encode(zlib.compress(json.dumps(fields).encode())).decode()
    app = opened("Explore", v="2", z=packed)
    assert not app.exception
    assert [r"text='caf\\ud800'" in each.value for each in app.warning] == [True, False]
    assert app.error[0].value == "The text is empty; type one, or choose an example."
    app.text_area(key=key("text")).set_value("cat").run()  # nobody is stuck
    assert not app.exception
    assert not app.error
    assert app.get("plotly_chart")


def test_files_with_half_a_character_are_one_sentence():
    app = opened("Compare", model="g2p", text="cat")
    file = ("a.jsonl", b'{"text": "whole"}\n{"text": "caf\\ud800"}\n', "application/json")
    app.get("file_uploader")[0].set_value(file).run()
    assert app.error[0].value.startswith("The file 'a.jsonl' has half a character (a lone surrogate) in its text 2")
    assert not app.exception
    app.get("file_uploader")[0].set_value(
        ("a.csv", "text;target\n日本　語\u2028x;=1\n".encode("utf-8-sig"), "text/csv")
    ).run()
    assert not app.error
    assert app.session_state[key("listing")] == "日本　語 x\t=1"
    assert not app.exception


def test_what_a_file_says_of_its_making_can_be_shown():
    about = {"format": link.APP, "version": "2", "revision": "1\ud800", "fingerprint": "x", "app": "\udfff"}
    scenario, made = link.from_json("x.json", json.dumps(about | {"scenario": {"model": "g2p"}}).encode())
    assert (made.revision, made.app) == (r"1\ud800", r"\udfff")
    assert scenario.model == "g2p"
