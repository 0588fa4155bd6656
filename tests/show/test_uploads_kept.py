"""Files of a visitor's own survive other pages, and a link that needs them says which they are."""

import hashlib
import json

from nvib.lab import Scenario
from nvib.lab.share import link
from nvib.lab.uploads import Upload, naming, needed, uploaded
from nvib.show import session
from tests.support import tiny
from tests.support.folders import WORDS, save
from tests.support.pages import opened

LINES = [json.dumps({"text": f"the cat sat {word}", "target": f"on {word} mat"}) for word in WORDS[3:]]


def plain(elements):
    return [element.value.replace("\\", "") for element in elements]


def one(sentence):
    return [sentence]


def run_buttons(app):
    return [each.label for each in app.button if "the sweep" in each.label]


def test_texts_of_a_sweep_survive_another_page_and_are_named_in_its_link(tmp_path):
    folder = str(save(tmp_path / "model", tiny.model_of("bert")))
    data = "\n".join(LINES).encode()
    app = opened("Sweep", v="2", model=folder, prior="normal", grid="mu=1,0.9", text="the cat")
    app.get("file_uploader")[1].set_value(("mine.jsonl", data, "application/json")).run()
    assert run_buttons(app)
    digest = hashlib.sha256(data).hexdigest()[:12]
    named = f"outside {len(LINES)} {digest} mine.jsonl"
    assert app.query_params["uploads"] == named
    app.switch_page("pages/5_Prior.py").run()
    app.switch_page("pages/4_Sweep.py").run()
    assert not app.exception
    assert not app.error
    assert run_buttons(app)
    assert f"Kept: mine.jsonl ({len(LINES)} texts, fingerprint {digest})." in plain(app.caption)

    other = opened("Sweep", **{name: app.query_params[name] for name in app.query_params})
    assert plain(other.error) == one(
        f"This sweep was made with texts that stayed with their maker: mine.jsonl ({len(LINES)} texts, fingerprint "
        f"{digest}), outside; upload them here, or others of your own."
    )
    assert not run_buttons(other)
    other.get("file_uploader")[1].set_value(("renamed.jsonl", data, "application/json")).run()
    assert not other.error
    assert run_buttons(other)

    second = "\n".join(reversed(LINES)).encode()
    app.get("file_uploader")[1].set_value(("second.jsonl", second, "application/json")).run()
    assert not app.error
    assert app.query_params["uploads"].endswith("second.jsonl")
    app.switch_page("pages/5_Prior.py").run()
    app.switch_page("pages/4_Sweep.py").run()
    next(button for button in app.button if button.label == "Remove").click().run()
    assert "uploads" not in app.query_params
    assert not run_buttons(app)


def test_a_second_prior_after_another_page_is_taken_and_a_recipient_is_told_of_its_file(tmp_path):
    folder = str(save(tmp_path / "model", tiny.model_of("bert")))
    app = opened("Prior", v="2", model=folder, prior="normal", text="the cat", encoder_sigma="0.2")
    first, second = b"the cat sat on\nthe mat sat\n", b"the mat\nthe cat\non the mat\n"
    found = []
    for n, data in enumerate((first, second), 1):
        app.get("file_uploader")[0].set_value((f"file{n}.txt", data, "text/plain")).run()
        assert not app.exception
        assert not app.error
        scenario = app.session_state["scenario"]
        assert uploaded(scenario) == {"prior": Upload(n + 1, hashlib.sha256(data).hexdigest()[:12], f"file{n}.txt")}
        found.append(scenario.prior_id)
        app.switch_page("app.py").run()
        assert app.session_state["scenario"] == scenario
        app.switch_page("pages/5_Prior.py").run()
    assert found[0] != found[1]
    assert app.session_state["scenario"].prior_id == found[1]

    query = {name: app.query_params[name] for name in app.query_params}
    query["prior_id"] = "0" * 12
    other = opened("Explore", **query)
    digest = hashlib.sha256(second).hexdigest()[:12]
    told = [shown for shown in plain(other.info) if "file2.txt" in shown]
    assert len(told) == 1
    assert told[0].startswith(
        f"The prior that this view was made with is a file of its maker's, file2.txt (3 texts, fingerprint {digest}), "
        "and this server does not have it: upload it on the page Prior, or choose another source."
    )


def test_only_the_files_that_a_view_needs_are_named_to_others():
    files = {use: Upload(3, "0123456789ab", f"{use}.txt") for use in ("inside", "outside", "prior")}
    both = Scenario(task="own", prior="own", prior_id="0123456789ab", uploads=naming(files))
    assert uploaded(both) == files
    assert needed(both) == both
    assert uploaded(needed(Scenario(task="own", uploads=both.uploads))).keys() == {"inside", "outside"}
    alone = Scenario(prior="own", prior_id="0123456789ab", uploads=both.uploads)
    assert uploaded(link.decode(session.address(alone))[0]).keys() == {"prior"}
    assert needed(Scenario(uploads=both.uploads)) == Scenario()


def test_whatever_a_file_is_called_its_name_is_one_line_of_a_link():
    for name in ("", " ", "a\nb\x00\x85\u2028c", "\ud800", "x" * 300, "a b | c.txt", "é.csv"):
        file = Upload.of(name, b"x", 1)
        assert uploaded(Scenario(uploads=naming({"inside": file}))) == {"inside": file}
