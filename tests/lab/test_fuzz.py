"""Links, scenarios, priors and uploads that nobody wrote: one sentence each, soon, and nothing else happens.

NVIB_FUZZ examples, of all kinds together; a run of 100,000 takes some minutes.
"""

import base64
import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as serialize

from nvib import NVError, Prior
from nvib.lab import Scenario
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.uploads import ENDINGS, read
from nvib.prior import LayerPrior
from tests.support.counts import FEW, FUZZ
from tests.support.watch import watched
from tests.support.workbooks import workbook

KINDS = 4
SECONDS = 5
ALLOWED = Path(tempfile.gettempdir())
HARD = settings(
    max_examples=FUZZ // KINDS,
    deadline=None if FEW else 1000 * SECONDS,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=FEW,  # one of many tests: the same examples each time, and no clock
)

ODD = st.sampled_from([
    "", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "9" * 400, "0x10", "१२", "½", "1_000",
    "true", "True", "null", "\0",
    "\ud800", "\udfff\ud800", "\u202e", "\ufeff", "../../etc/passwd", "/etc/passwd", "~root", "file:///etc/passwd",
    "http://example.org/x", "\\\\host\\share", "${jndi:ldap://example.org}", "{{7*7}}", "{0.__class__}", "%s%n", "=1+1",
    "'; drop table sums; --", "<script>alert(1)</script>", "![x](http://example.org/x.png)", "__import__('os')", "0-",
    "3,prior", "1,2,3", "a=b c=d", "inside 1 0123456789ab x", "[" * 2000, "own", "text", "decoder_alpha=" + "1," * 400,
])  # fmt: skip
TEXTS = st.one_of(ODD, st.text(max_size=60), st.text(alphabet=st.characters(codec=None), max_size=30),
    st.integers().map(str),
                  st.floats().map(str))  # fmt: skip
NAMES = st.one_of(st.sampled_from([*FIELDS, "v", "z", "fp", "rev", "app", "view", "open", "page"]), TEXTS)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)  # fmt: skip


def told(act):
    """What it says, or one sentence; anything else that is raised fails, as do files, hosts and programs."""
    with watched(ALLOWED) as seen:
        try:
            found, said = act(), ""
        except NVError as error:
            found, said = None, str(error)
    assert not seen
    assert "\n" not in said
    assert len(said) < 1000
    return found


def dumped(content):
    return json.dumps(content, ensure_ascii=True).encode()


@st.composite
def mangled(draw, whole):
    """Bytes of a file that was right, with some of them changed, lost, doubled or made up."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        put = draw(
            st.sampled_from([b"", bytes(data[at:end]) * 2, b"\xff", b"\0\0\0\0", b"9" * 30]) | st.binary(max_size=12)
        )
        data[at:end] = put
    return bytes(data)


# Links


@st.composite
def queries(draw):
    query = draw(st.dictionaries(NAMES, TEXTS, max_size=6))
    packed = draw(st.sampled_from(["none", "json", "bytes", "text"]))
    if packed == "json":
        query["z"] = base64.urlsafe_b64encode(zlib.compress(dumped(draw(JSONS)))).decode().rstrip("=")
    elif packed == "bytes":
        query["z"] = base64.urlsafe_b64encode(zlib.compress(draw(st.binary(max_size=200)))).decode()
    elif packed == "text":
        query["z"] = draw(TEXTS)
    return query


@HARD
@given(queries())
def test_links(query):
    found = told(lambda: link.decode(query))
    assert found is not None
    scenario, _, ignored = found
    assert all("\n" not in sentence and len(sentence) < 300 for sentence in ignored)
    assert isinstance(scenario, Scenario)
    again = link.encode(scenario)  # what was read can be shared
    assert again is None or link.decode(again)[0] == scenario


# Scenario files

WHOLE = st.fixed_dictionaries(
    {"format": st.just(link.APP) | TEXTS, "version": st.sampled_from(["1", "2", 2, None])},
    optional={"scenario": st.dictionaries(NAMES, JSONS, max_size=5) | JSONS, "fingerprint": JSONS, "revision": JSONS},
)
RIGHT = dumped({"format": link.APP, "version": "2", "scenario": {"text": "x"}})
SCENARIOS = st.one_of(
    WHOLE.map(dumped), JSONS.map(dumped), st.binary(max_size=200), mangled(WHOLE.map(dumped)),
    mangled(st.just(RIGHT)),
    st.sampled_from([b"[" * 200_000, b'{"a":' * 100_000, b"1" * 100_000, b"\xff\xfe{\x00", b"\xef\xbb\xbf{}", b"NaN"]),
)  # fmt: skip


@HARD
@given(TEXTS, SCENARIOS)
def test_scenario_files(name, data):
    found = told(lambda: link.from_json(name, data))
    if found:
        assert isinstance(found[0], Scenario)


# Priors


def prior_bytes():
    one = torch.ones(1)
    layers = {name: LayerPrior(torch.zeros(4), torch.ones(4), one, one) for name in ("encoder.0", "cross", "decoder.0")}
    return Prior(layers, {"corpus": "x"}).to_bytes()


@st.composite
def headed(draw):
    """A file whose header says what it likes of the bytes behind it."""
    entry = st.fixed_dictionaries({
        "dtype": st.sampled_from(["F32", "F64", "BF16", "I64", "BOOL", "U8", "F8_E4M3", "X"]) | TEXTS,
        "shape": st.lists(st.integers(-2, 2**62), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 2**62), max_size=3),
    })  # fmt: skip
    names = st.sampled_from([f"{layer}.{part}" for layer in ("encoder.0", "cross", "decoder.9999999999", "", "x")
                             for part in ("mean", "var", "log_alpha", "log_alpha_std", "")]) | TEXTS  # fmt: skip
    header = dumped(draw(st.dictionaries(names, entry | JSONS, max_size=5) | JSONS))
    length = draw(st.sampled_from([len(header), 0, 1, len(header) + 1, 2**63, 2**40]))
    return length.to_bytes(8, "little") + header + draw(st.binary(max_size=64))


@st.composite
def tensors(draw):
    """A file that is well formed, of tensors that no prior has."""
    kinds = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float64])
    values = st.sampled_from([0.0, 1.0, -1.0, float("nan"), float("inf"), 1e38])
    names = [f"{layer}.{part}" for layer in ("encoder.0", "cross", draw(TEXTS).replace("\ud800", "") or "decoder.0")
             for part in ("mean", "var", "log_alpha", "log_alpha_std")]  # fmt: skip
    made = {name: torch.full(draw(st.sampled_from([(1,), (4,), (0,), (2, 2), ()])), draw(values)).to(draw(kinds))
            for name in names if draw(st.integers(0, 9))}  # fmt: skip
    return serialize({name.encode("utf-8", "replace").decode(): tensor for name, tensor in made.items()})


PRIORS = st.one_of(st.binary(max_size=200), headed(), tensors(), mangled(st.just(prior_bytes())))


@HARD
@given(TEXTS, PRIORS)
def test_prior_files(name, data):
    found = told(lambda: Prior.from_bytes(name, data))
    if found:
        for layer in found.layers.values():
            assert all(np.isfinite(getattr(layer, part).numpy()).all() for part in ("mean", "var", "log_alpha"))
            assert (layer.var > 0).all()
        assert told(lambda: (found.identity, Prior.from_bytes(name, found.to_bytes()).fingerprint)) is not None


# Uploads


def table(head, rows):
    return "\n".join([head, *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass")


CELLS = st.lists(st.lists(TEXTS, max_size=4), max_size=5)
HEADS = st.sampled_from(
    ["text", "text,target", "text;reference", "sep=;\ntext;target", "prompt\tcompletion", "a,b", ""]
)
UPLOADS = st.one_of(
    st.binary(max_size=300),
    st.tuples(HEADS, CELLS).map(lambda parts: table(*parts)),
    st.lists(JSONS, max_size=4).map(lambda rows: b"\n".join(map(dumped, rows))),
    CELLS.map(lambda rows: workbook([["text"], *rows])), mangled(st.just(workbook([["text", "target"], ["a", "b"]]))),
    st.sampled_from([b"text\n" + b'"' * 100_000, b"[" * 200_000, b"text\n" + b"\0" * 1000, b"PK\x03\x04",
                     b"\xff\xfet\0", b"text\n" + b"," * 9999]),
)  # fmt: skip


@HARD
@given(TEXTS, st.sampled_from([*ENDINGS, "exe", ""]), UPLOADS)
def test_uploads(name, ending, data):
    found = told(lambda: read(f"{name}.{ending}", data, empty=True))
    for pair in found.pairs if found else ():
        for text in pair:
            text.encode()  # whole characters


def test_the_watch_sees_what_happens(tmp_path):
    """What the tests above rely on: a file, a host and a program are noticed."""
    import socket
    import subprocess

    with watched(tmp_path / "inside") as seen:
        (tmp_path / "outside").write_text("x")
        (tmp_path / "outside").rename(tmp_path / "moved")
        with pytest.raises(ConnectionRefusedError), socket.socket() as asks:
            asks.connect(("127.0.0.1", 9))
        subprocess.run(["true"], check=True)
    assert [what.split()[0] for what in seen] == ["wrote", "os.rename", "asked", "started"]
    with watched(tmp_path) as seen:
        (tmp_path / "within").write_text("x")
    assert not seen
