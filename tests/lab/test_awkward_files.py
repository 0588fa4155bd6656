"""Text that comes in by a file, a link, an option or a call, and that no model can take as it is."""

import base64
import codecs
import json
import zlib

import pytest

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.share import link
from nvib.lab.sweep.space import space
from nvib.lab.uploads import guarded, pairs, texts, unguarded
from tests.support.folders import save
from tests.support.tiny import FAMILIES

HALVES = ["\ud800", "a\udfffb", "cat \udce9", "x" * 300 + "\ud83d"]


def one_sentence(told):
    said = str(told)
    said.encode()  # it can be shown and printed itself
    assert "\n" not in said
    assert len(said) < 300
    return said


def packed(**fields):
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(fields).encode())).decode().rstrip("=")


# Halves of characters


@pytest.mark.parametrize("text", HALVES)
@pytest.mark.parametrize("field", ["text", "target", "listing", "prior_text", "other_text", "model", "grid", "head"])
def test_a_scenario_holds_no_half_of_a_character(field, text):
    with pytest.raises(ValueError, match=f"^Scenario {field}=.* is not a legal value; give ") as told:
        Scenario(**{field: text})
    one_sentence(told.value)


@pytest.mark.parametrize("text", HALVES)
@pytest.mark.parametrize("field", ["text", "listing", "model", "grid", "nonsense\ud800"])
def test_a_link_leaves_it_out_and_says_so(field, text):
    for query in ({"z": packed(**{field: text})}, {field: text}, {"z": packed(text="whole"), field: text}):
        scenario, made, ignored = link.decode({"v": "2", "rev": "1\ud800", "fp": text, **query})
        assert scenario in (Scenario(), Scenario(text="whole"))
        assert any(repr(field[:40]) in one_sentence(line) or f"{field}=" in line for line in ignored)
        assert link.encode(scenario, made)  # which the address bar needs


@pytest.mark.parametrize("text", HALVES)
def test_a_scenario_file_is_refused_in_one_sentence(text):
    for given in ({"text": text}, {"model": text}, {"\ud800": "x"}):
        data = json.dumps({"format": link.APP, "version": "2", "scenario": given}).encode()
        with pytest.raises(NVError, match=r"The file 'x\.json' holds ") as told:
            link.from_json("x.json", data)
        one_sentence(told.value)
    about = {"format": link.APP, "version": "2", "revision": text, "fingerprint": 3, "app": ["x"]}
    _, made = link.from_json("x.json", json.dumps(about | {"scenario": {"text": "whole"}}).encode())
    made.revision.encode()
    assert (made.fingerprint, made.app) == ("", "")


@pytest.mark.parametrize("option", ["text", "model", "target", "prior-text", "grid"])
def test_an_option_is_refused_in_one_sentence(option, capsys):
    assert main(["observe", f"--{option}", "caf\udce9"]) == 1
    assert f"--{option}: " in one_sentence(capsys.readouterr().err.strip())


def test_other_ways_of_the_command_line(tmp_path, capsys):
    assert main(["observe", "--model", "g2p", "--link", "http://x/?v=2&text=caf\udce9"]) == 1
    assert "The link's text=" in capsys.readouterr().err
    assert main(["check", "g2p", "--text", "caf\udce9"]) == 1
    assert "--text: text=" in one_sentence(capsys.readouterr().err.strip())
    assert main(["check", "g2\udce9p"]) == 1
    assert "There is no model" in one_sentence(capsys.readouterr().out.strip())
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "whole"}\n{"text": "b\\udc00"}\n')
    assert main(["prior", "--model", "g2p", "--texts", str(file), "--out", "p.safetensors"]) == 1
    assert "in its text 2; leave it out" in one_sentence(capsys.readouterr().err.strip())
    with pytest.raises(NVError, match="The grid's prior=") as told:
        space(Scenario(), "prior=\ud800")
    one_sentence(told.value)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("llama"), FAMILIES["llama"]())))


def test_a_call_is_refused_in_one_sentence(bench):
    for call in (
        lambda: bench.loaded.encode(["the cat", "the \ud800"]),
        lambda: bench.encode(["the \ud800"]),
        lambda: bench.training_batch(["the \udfff"]),
        lambda: bench.priors.estimate(["the cat", "the \udfff"], "texts"),
    ):
        with pytest.raises(NVError, match="has half a character") as told:
            call()
        one_sentence(told.value)


def test_the_rest_of_a_text_is_as_it_is(bench):
    """Signs that are characters, if odd ones, are the model's."""
    for text in ("the cat\0sat", "the\u2028cat", "\ufeffthe cat", "the \ufffd cat", "the\r\ncat"):
        assert observe(bench, Scenario(model=bench.shape.name, text=text, prior="normal")).tokens


# Files


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_a_mark_says_how_a_file_is_written(ending, coding):
    said = {"txt": "Grüße\nzwei", "csv": "text\nGrüße\nzwei\n", "jsonl": '{"text": "Grüße"}\n{"text": "zwei"}\n'}
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-16-le": codecs.BOM_UTF16_LE}.get(coding, b"")
    assert texts(f"a.{ending}", mark + said[ending].encode(coding)) == ["Grüße", "zwei"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.txt", "Grüße".encode("latin-1"), "is not UTF-8 at byte 2; save it as UTF-8"),
        ("a.csv", "text\n„Haus“".encode("cp1252"), "is not UTF-8 at byte 5"),
        ("a.csv", b"text\n\xed\xa0\x80", "is not UTF-8 at byte 5"),  # half a character, as some programs write it
        ("a.txt", b"\xff\xfea\x00\x00\xd8", "is not UTF-8 at byte 2|is not UTF-8 at byte 4"),
        ("a.txt", "the cat sat".encode("utf-16-le"), "is full of NUL characters, as UTF-16 without a mark is; save it"),
        ("a.txt", bytes(9), "is full of NUL"),
        ("a.txt", b"\xef\xbb\xbf", "holds no text"),
        ("a.txt", b"\r\n\r\n", "holds no text"),
        ("a.csv", b"text\r\n", "holds no text"),
        ("a.jsonl", b"", "has no column 'text'"),
        ("a.jsonl", b'{"text": "a\\ud800"}', r"has half a character \(a lone surrogate\) in its text 1; leave it out"),
        ("a.jsonl", b'{"text": "a", "target": "\\udc00"}', "in its text 1"),
        ("a.jsonl", b'{"text": "a"}\n"b"', r"cannot be read as .jsonl \(a line is no object\); check it"),
        ("a.jsonl", b"[" * 99_999, "cannot be read as .jsonl"),
        ("a.csv", b"text\n" + b'"' + b"x" * 200_000, "cannot be read as .csv"),
        ("a.csv", b"x" * 200_000 + b"\n1", "cannot be read as .csv|no column"),
        ("a\ud800.txt", b"", "holds no text"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(name, data, sentence):
    with pytest.raises(NVError, match=sentence) as told:
        pairs(name, data)
    one_sentence(told.value)


@pytest.mark.parametrize(
    ("name", "said", "found"),
    [
        ("a.csv", 'text;target\r\n"a; b";c\r\nd,e;f\r\n', [("a; b", "c"), ("d,e", "f")]),
        ("a.csv", 'id\ttext\ttarget\n1\t"a\tb"\t\n2\td\tf\n', [("a\tb", ""), ("d", "f")]),
        ("a.csv", 'text,reference\n"one\r\ntwo",x\n', [("one\r\ntwo", "x")]),
        ("a.csv", "text\na\0b\nc\u2028d\n", [("a\0b", ""), ("c\u2028d", "")]),
        ("a.csv", "text\n'=1\n'tis\n  -x \n", [("'=1", ""), ("'tis", ""), ("-x", "")]),  # no table of ours
        (
            "a.txt",
            "one\rtwo\r\nthree\u2028three\n\n four\x0c",
            [(t, "") for t in ("one", "two", "three\u2028three", "four")],
        ),
        (
            "a.jsonl",
            '{"text": "a\u2028b", "reference": "c"}\r\n\r\n{"text": "\\ud83d\\ude00"}',
            [("a\u2028b", "c"), ("😀", "")],
        ),
        ("a.jsonl", '{"text": null}\n{"text": "x", "target": 5}', [("x", "")]),
    ],
)
def test_what_can_be_read_is_read_as_it_is(name, said, found):
    assert pairs(name, said.encode()) == found


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_scenario_file_may_have_a_mark(mark):
    scenario = EXAMPLES["minilm"]
    data = link.to_json(scenario, link.Made(app="1")).encode(mark)
    assert link.from_json("x.json", data)[0] == scenario


FORMULAS = ["=1+1", "+", "-", "@x", "\t=", "\rx", "\nx", "-0.5", " =1", "'=1", "''=1", "＝1", "\0=1", "' =x"]
PLAIN = ["", "a=1", "'", "'tis", "1-2", "x", "−", " x", "0.5", "''", "\u00b7-"]


def test_what_a_spreadsheet_would_compute_is_guarded_and_comes_back():
    for cell in FORMULAS:
        assert guarded(cell) == f"'{cell}"
        assert unguarded(guarded(cell)) == cell
    for cell in PLAIN:
        assert guarded(cell) == unguarded(cell) == cell
