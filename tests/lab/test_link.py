"""Every number of both pages, on the three real models, against the float64 textbook version."""

import base64
import json
import math
import zlib
from dataclasses import fields, replace
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvib import NVError
from nvib.lab import EXAMPLES, Scenario
from nvib.lab.scenario import bounds, options
from nvib.lab.share import link
from nvib.lab.share.pinned import pin


def test_every_field_survives_the_link():
    odd = Scenario(
        model="a/b", text="x & y = <s>\n é", encoder_alpha=0.0, encoder_sigma=0.1, cross_alpha=-3.5, cross_sigma=1.0,
        decoder_alpha=10.0, decoder_sigma=(0.05, 0.1), mu=0.0, protected=2,
        peer="temperature:1.1/1.2", against="noise:0.1", prior="text", prior_text="p\nq",
        prior_mean_scale=0.0, prior_variance_scale=0.25, pseudo_count_shift=-2.0, kind="cross", layer=3, head="max",
        row=4, cell="3,prior", metric="entropy", scale="log", special=False, with_prior=False, effect="local",
        encoder_layers="0-3", cross_layers="1-1", decoder_layers="2-29", prior_id="0123456789ab", across="max",
        merge=True, level=0.5, seed=7, other_text="q\nr", path=True, target="ɐ", length=3, sampled=True, listing="a\tb",
        task="own", grid="mu=1,0.9", search="adaptive", trials=7, examples=64, measured="bits per byte",
        uploads="inside 120 0123456789ab my texts.txt\nprior 0 ba9876543210 é.safetensors", colour_range="fixed",
        chat=True, sampling_temperature=0.7, top_p=0.9, device="split", dtype="int8",
        glance="all", glance_side="nv", glance_order="prior mass", lens_at="3",
        heads_x="induction", heads_y="entropy", heads_side="nv",
        calibration_set="words", fit_way="temperature:1.0", fit_by="all", fit_steps=3, fit_seed=4, fit_penalty=0.5,
        fit_protected="0", fit_sets="words\nproper names", note="Look\nhere", variants="a\nb",
        pinned="model=g2p&decoder_sigma=0.3",
    )  # fmt: skip
    assert all(getattr(odd, f.name) != getattr(Scenario(), f.name) for f in fields(Scenario))
    assert link.decode(link.encode(odd)) == (odd, link.Made(), [])
    assert link.decode(link.encode(Scenario())) == (Scenario(), link.Made(), [])
    for example in EXAMPLES.values():
        assert link.decode(link.encode(example)) == (example, link.Made(), [])
        zero = replace(example, decoder_alpha=0.0, encoder_alpha=math.inf, protected=0, row=0)
        assert link.decode(link.encode(zero)) == (zero, link.Made(), [])


@pytest.mark.parametrize(
    "query",
    [{"layer": "-1"}, {"decoder_alpha": "nan"}, {"decoder_sigma": "-1"}, {"prior": "x"}, {"protected": "1.5"},
     {"mu": "2"}, {"head": "abc"}, {"nonsense": "1"}, {"v": "9"}, {"prior_variance_scale": "0"}, {"kind": "up"},
     {"cell": "x"}, {"scale": "cubic"}, {"special": "maybe"}, {"decoder_layers": "5-2"}, {"layer": "٣"},
     {"effect": "none"}, {"metric": "beauty"}, {"across": "some"}, {"merge": "1"}, {"path": "yes"},
     {"prior_id": "../etc/passwd"}, {"prior_id": "0123456789AB"}, {"uploads": "corpus.txt"},
     {"chat": "1"},
     {"sampling_temperature": "0"}, {"top_p": "0"}, {"top_p": "1.1"}],
)  # fmt: skip
def test_nonsense_in_a_link_is_ignored_with_a_sentence(query):
    scenario, _, ignored = link.decode({"v": "1", **query})
    assert scenario == Scenario()
    assert len(ignored) == 1


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


LINE = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).map(str.strip)


def one_of(name):
    return st.sampled_from(options(name))


def by_layer(one):
    return one | st.lists(one, min_size=1, max_size=5)


ALPHA = by_layer(st.floats(-100, 100) | st.just(math.inf))


SIGMA = by_layer(st.floats(0, 100))


PEERS = st.sampled_from(["", "temperature:1.1", "noise:0.05", "rank:20.down_proj:0.5", "bits:4", "dropout:0.1"])


NUMBER = st.integers(0, 9999).map(str)


LAYERS = st.just("") | st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda p: f"{min(p)}-{max(p)}")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\t"), max_size=300)


UPLOADS = st.sampled_from(
    ["", "inside 120 0123456789ab my texts.txt", "outside 1 0123456789ab é\nprior 0 ba9876543210 b"]
)


LEGAL = st.builds(
    Scenario,
    model=st.sampled_from(["smollm2", "minilm", "g2p", "owner/name"]) | LINE.filter(lambda m: m.lower() != "minilm-l6"),
    text=TEXT, encoder_alpha=ALPHA, encoder_sigma=SIGMA, cross_alpha=ALPHA, cross_sigma=SIGMA, decoder_alpha=ALPHA,
    decoder_sigma=SIGMA, mu=by_layer(st.floats(0, 1)), peer=PEERS, against=PEERS, encoder_layers=LAYERS,
    cross_layers=LAYERS, decoder_layers=LAYERS,
    effect=one_of("effect"), protected=st.integers(0, 8), prior=one_of("prior"), prior_text=TEXT,
    prior_id=st.just("") | st.text("0123456789abcdef", min_size=12, max_size=12),
    prior_mean_scale=st.floats(-1000, 1000), prior_variance_scale=st.floats(1e-3, 100),
    pseudo_count_shift=st.floats(-1000, 1000), kind=st.sampled_from(["", "encoder", "cross", "decoder"]),
    layer=st.integers(0, 999), head=st.sampled_from(["mean", "max"]) | NUMBER, across=one_of("across"),
    row=st.integers(0, 999), cell=st.just("") | st.tuples(NUMBER, NUMBER | st.just("prior")).map(",".join),
    metric=one_of("metric"), scale=one_of("scale"), colour_range=one_of("colour_range"),
    glance=one_of("glance"), glance_side=one_of("glance_side"), glance_order=one_of("glance_order"),
    heads_x=one_of("heads_x"), heads_y=one_of("heads_y"), heads_side=one_of("heads_side"),
    fit_way=one_of("fit_way"), fit_by=one_of("fit_by"),
    fit_protected=one_of("fit_protected"), fit_steps=st.integers(1, 100_000), fit_seed=st.integers(0, 999_999),
    fit_penalty=st.floats(0, 1000), fit_sets=NAMES, calibration_set=NAMES,
    lens_at=st.just("") | NUMBER, special=st.booleans(), merge=st.booleans(),
    with_prior=st.booleans(), level=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(0, 999_999), other_text=TEXT, path=st.booleans(), target=TEXT, length=st.integers(1, 200),
    sampled=st.booleans(), listing=TEXT, task=one_of("task"), search=one_of("search"),
    grid=st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=300),
    trials=st.integers(*bounds("trials")), examples=st.integers(*bounds("examples")),
    measured=st.sampled_from(["", "bits per byte", "ROUGE-L"]), chat=st.booleans(),
    device=one_of("device"), dtype=one_of("dtype"),
    sampling_temperature=st.floats(0.01, 100), top_p=st.floats(0, 1, exclude_min=True),
    pinned=st.builds(Scenario, mu=by_layer(st.floats(0, 1)), decoder_sigma=SIGMA, prior_text=TEXT).map(pin),
    uploads=UPLOADS, variants=TEXT, note=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=400),
)  # fmt: skip


@settings(max_examples=600, deadline=None, derandomize=True)
@given(LEGAL)
def test_a_scenario_survives_link_and_file(scenario):
    made = link.Made("abc", "package 1.2", "0.1")
    assert link.from_json("x.json", link.to_json(scenario, made).encode()) == (scenario, made)
    query = link.encode(scenario, made)
    if query is not None:
        address = urlencode(query)
        assert len(address) <= link.LONGEST
        assert link.decode(dict(parse_qsl(address, keep_blank_values=True))) == (scenario, made, [])


def test_every_field_is_drawn():
    assert LEGAL.wrapped_strategy.kwargs.keys() == {f.name for f in fields(Scenario)}


def test_links_are_short_then_packed_then_none():
    short = EXAMPLES["smollm2"]
    assert link.encode(short)["text"] == short.text
    longer = replace(short, text="The treaty was signed in the spring of that year. " * 30)
    packed = link.encode(longer)
    assert set(packed) == {"v", "z"}
    assert len(urlencode(packed)) < 400
    noise = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    assert link.encode(replace(short, text=noise)) is None
    assert link.from_json("x", link.to_json(replace(short, text=noise), link.Made()).encode())[0].text == noise


def legal(name, text):
    """Whether a parameter that a draw came upon by chance is one of a link's, with a value of its own."""
    try:
        return link.FIELDS[name].parse(text) is not None
    except (KeyError, ValueError):
        return False


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=8))
def test_any_query_opens_and_says_what_it_ignored(query):
    query = {name: text for name, text in query.items() if name not in ("v", *link.MADE)}
    scenario, _, ignored = link.decode({"v": "2", **query})
    assert scenario == Scenario() or set(query) & {f.name for f in fields(Scenario)}
    assert bool(set(query) - {name for name, text in query.items() if legal(name, text)}) == bool(ignored)
    assert all("\n" not in line and len(line) < 200 for line in map(repr, ignored))


def test_any_bytes_open_on_defaults():
    for seed in range(500):
        query = dict(parse_qsl(bytes((seed * 31 + n * n) % 256 for n in range(80)).decode("latin-1")))
        scenario, _, ignored = link.decode({"v": "2", **query})
        assert scenario == Scenario()
        assert bool(set(query) - {name for name, text in query.items() if legal(name, text)}) == bool(ignored)


def bomb(size):
    return base64.urlsafe_b64encode(zlib.compress(json.dumps({"text": "a" * size}).encode())).decode().rstrip("=")


def packed(text):
    return base64.urlsafe_b64encode(zlib.compress(text)).decode()


NOT_PACKED = ["", "x", "é", "AAAA", bomb(link.MOST_BYTES), base64.b64encode(b"x" * 50).decode(),
              packed(b"[" * 100_000), packed(b'{"text": {"a": 1}}')]  # fmt: skip


@pytest.mark.parametrize("packed", NOT_PACKED)
def test_a_packed_part_that_is_none(packed):
    scenario, _, ignored = link.decode({"v": "2", "z": packed})
    assert scenario == Scenario()
    assert ignored == ["The packed part of the link cannot be read and was ignored; copy the whole link."]


def test_older_and_newer_versions():
    query = {"v": "1", "model": "g2p", "text": "a b", "cross_alpha": "-3.0", "path": "True"}
    expected = Scenario(model="g2p", text="a b", cross_alpha=-3.0, path=True)
    assert link.decode(query) == (expected, link.Made(), [])
    scenario, _, ignored = link.decode({**query, "v": "9", "hologram": "1"})
    assert scenario == expected
    assert [("version '9'" in ignored[0]), ("'hologram'" in ignored[1])] == [True, True]


def file(**changes):
    return json.dumps({"format": link.APP, "version": "2", "scenario": {}} | changes).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no JSON; give a scenario that this app saved."),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[1]", "is no scenario; give one that this app saved."),
        (b"null", "no scenario"),
        (b'{"scenario": {}}', "no scenario"),
        (file(scenario=[]), "no scenario"),
        (file(version="7"), "is of another version; this app reads up to 2."),
        (file(version={}), "another version"),
        (file(scenario={"text": {"a": [1]}}), "'text'"),
        (file(scenario={"text": None}), "'text'"),
        (file(scenario={"<script>alert(1)</script>": 1}), "<script>"),
        (file(scenario={"__class__": "x"}), "holds '__class__', which is no control of this app; mend it."),
        (file(scenario={"prior_id": "../../etc/passwd"}), "prior_id"),
        (file(scenario={"layer": -1}), "holds 'layer', which = '-1' is not legal; mend it."),
        (file(scenario={"mu": "nan"}), "mu"),
        (file(scenario={"special": 1}), "special"),
        (file(scenario={"seed": 1e9}), "seed"),
        (b" " * (link.MOST_BYTES + 1), "has 4,194,305 bytes; a scenario has 4,194,304 at most."),
    ],
)
def test_a_hostile_file_is_one_sentence(data, sentence):
    with pytest.raises(NVError) as refused:
        link.from_json("../../" + "x" * 100 + ".json", data)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 250
    assert str(refused.value).count(". ") == 0
