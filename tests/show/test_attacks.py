"""What a visitor may try with a link, a file or a name, on real pages: one sentence each, and the session lives on."""

import base64
import io
import json
import os
import pickle
import zipfile
import zlib

import pytest
import torch
from safetensors.torch import save as serialize

from nvib import NVError, Prior
from nvib.lab.share import link
from nvib.lab.uploads import Upload, read
from nvib.show import resources
from tests.support import tiny
from tests.support.folders import save, sentence
from tests.support.pages import opened
from tests.support.watch import watched
from tests.support.workbooks import workbook

# Links


def packed(data):
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def bomb():
    """A packed link that unpacks to a quarter of a gigabyte, and is a third of a megabyte long."""
    machine, parts = zlib.compressobj(9), []
    for _ in range(16):
        parts.append(machine.compress(b" " * 2**24))
    return base64.urlsafe_b64encode(b"".join([*parts, machine.flush()])).decode().rstrip("=")


@pytest.mark.parametrize(
    "made",
    [
        bomb,
        lambda: packed(b"[" * 10**6),
        lambda: packed(b'{"text": 1}'),
        lambda: packed(b"\xff"),
        lambda: "%%%",
        lambda: "A",
    ],
    ids=["bomb", "nested", "numbers", "bytes", "no base64", "cut"],
)
def test_a_packed_link_that_is_none(made):
    app = opened("Explore", v="2", z=made(), model="g2p")
    assert not app.exception
    said = [alert.value for alert in app.warning]
    assert "The packed part of the link cannot be read and was ignored; copy the whole link." in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_alpha", "nan"), ("encoder_sigma", "-1"), ("encoder_sigma", "inf"), ("mu", "1e999"), ("layer", "-1"),
        ("layer", "9" * 500), ("cell", "0,0,0"), ("head", "../x"), ("seed", "1.5"), ("level", "0"), ("length", "10**9"),
        ("encoder_layers", "5-2-1"), ("prior", "/etc/passwd"), ("prior_id", "../../x"), ("trials", "1e9"),
        ("uploads", "prior 1 0123456789ab ../../x\nroot 1 0 x"), ("protected", "-3"), ("prior_variance_scale", "0"),
    ],
)  # fmt: skip
def test_a_value_that_no_control_has(field, value):
    scenario, _, ignored = link.decode({"v": "2", "model": "g2p", field: value})
    assert getattr(scenario, field) == getattr(link.decode({"v": "2", "model": "g2p"})[0], field)
    assert len(ignored) == 1
    assert ignored[0].startswith(f"The link's {field}=")


def test_a_view_that_this_server_never_had():
    """A long view has a name on its server: another one opens nobody's."""
    app = opened("Explore", v="2", view="0123456789abcdef")
    assert not app.exception
    assert any("too long for a link" in alert.value for alert in app.warning)


# Files


def test_a_workbook_that_unpacks_without_end():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(4):
            archive.writestr(f"xl/worksheets/sheet{part}.xml", b"0" * (2**25))
    with pytest.raises(NVError, match=r"is too large once unpacked; leave the texts alone in it\.$"):
        read("a.xlsx", made.getvalue(), empty=True)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "entities",
    [
        f'<!ENTITY l0 "ha">{LAUGHS}',
        '<!ENTITY l9 SYSTEM "file:///etc/passwd">',
        '<!ENTITY l9 SYSTEM "http://example.org/x">',
    ],
    ids=["billion laughs", "a file", "a host"],
)
def test_a_workbook_with_entities_of_its_own(entities, tmp_path):
    """None is expanded, and neither a file nor a host is asked for what it says."""
    with watched(tmp_path) as seen, pytest.raises(NVError, match=r"cannot be read as \.xlsx"):
        read("a.xlsx", workbook([["text"], ["&l9;"]], before=f"<!DOCTYPE x [{entities}]>"), empty=True)
    assert not seen


def test_a_table_of_millions_of_rows():
    with pytest.raises(NVError, match=r"holds 1,000,000 texts; 20,000 are enough: shorten it\.$"):
        read("a.csv", b"text\n" + b"x\n" * 1_000_000, empty=False)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\nb\x00c", "\u202egnp.txt", "x" * 5000, "", "![x](http://example.org)"]
)
def test_a_name_of_a_file_is_one_line_of_text(name):
    """It names no place, and can stand in a link."""
    shown = Upload.of(name, b"x", 3)
    assert len(shown.name) <= 60
    assert shown.name.isprintable()
    scenario = link.decode({"v": "2", "uploads": f"inside {shown.texts} {shown.fingerprint} {shown.name}"})[0]
    assert scenario.uploads.endswith(shown.name)


class Act:
    def __reduce__(self):
        return os.system, ("touch never",)


@pytest.mark.parametrize("ending", ["safetensors", "txt", "csv", "jsonl", "xlsx"])
def test_a_pickle_by_any_name_is_never_run(ending, tmp_path):
    data = pickle.dumps(Act())
    with watched(tmp_path) as seen, pytest.raises(NVError):
        Prior.from_bytes(f"a.{ending}", data) if ending == "safetensors" else read(f"a.{ending}", data, empty=False)
    assert not seen


def headed(header, behind=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + behind


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        headed({"encoder.0.mean": {**ENTRY, "shape": [2**60]}}, b"\0" * 4),
        headed({"encoder.0.mean": {**ENTRY, "shape": [2**32, 2**32]}}, b"\0" * 4),
        headed({"encoder.0.mean": {**ENTRY, "data_offsets": [0, 2**60]}}, b"\0" * 4),
        headed({"encoder.0.mean": {**ENTRY, "data_offsets": [4, 0]}}, b"\0" * 4),
        headed({"encoder.0.mean": {**ENTRY, "dtype": "F1024"}}, b"\0" * 4),
        headed({"encoder.0.mean": ENTRY, "encoder.0.var": ENTRY}, b"\0" * 4),  # both are the same bytes
        headed({"__metadata__": {"a": {"b": 1}}}),
        headed(b"[" * 100_000),
        (2**62).to_bytes(8, "little") + b"{}",
        headed(b"{" + b" " * 5_000_000 + b"}", b"\0"),
        headed({}),
        b"",
    ],
    ids=["shape", "product", "beyond", "backwards", "dtype", "overlap", "metadata", "nested", "length",
         "long", "none", "empty"],
)  # fmt: skip
def test_a_prior_whose_header_lies(data):
    with pytest.raises(NVError) as told:
        Prior.from_bytes("a.safetensors", data)
    assert "\n" not in str(told.value)
    if len(data) > 4 * 2**20:
        assert str(told.value).startswith(
            "The prior 'a.safetensors' has a header of 5,000,002 bytes; 4,194,304 are enou"
        )


def test_a_prior_of_layers_without_end():
    parts = ("mean", "var", "log_alpha", "log_alpha_std")
    tensors = {f"encoder.{n}.{part}": torch.ones(1) for n in range(5000) for part in parts}
    prior = Prior.from_bytes("a.safetensors", serialize(tensors))
    with pytest.raises(NVError, match=r"The prior's encoder\.0\.mean has width 1 but this model needs \d+\.$"):
        resources.bench("g2p").priors.keep(prior)


# Models


@pytest.mark.parametrize(
    "name", ["../../etc", "../../../etc/passwd", "owner/../../etc", "/dev/zero", "file:///etc", "a" * 9999, "\0"]
)
def test_a_name_that_is_no_model(name):
    told = sentence(name)
    assert "root" not in told


def test_a_folder_whose_files_point_elsewhere(tmp_path):
    """A link in it is followed as the operating system does, and what is there is no weights."""
    folder = save(tmp_path / "model", tiny.llama())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    told = sentence(str(folder))
    assert "root:" not in told


def test_a_folder_that_points_at_itself(tmp_path):
    folder = save(tmp_path / "model", tiny.llama())
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    sentence(str(folder))


# The whole page


@pytest.mark.parametrize("page", ["Explore", "Compare", "Sweep", "Prior", "Pseudo-counts", "Method"])
def test_a_link_of_nothing_but_nonsense_opens_every_page(page):
    query = {"v": "?", "z": "x", "model": "g2p", "text": "<img src=x onerror=alert(1)>",
             "layer": "nan", "__class__": "x", "open": "../..", "grid": "decoder_alpha=1:1:1",
             "listing": "a\tb\tc\n\t\n"}  # fmt: skip
    app = opened(page, **query)
    assert not app.exception
    assert app.sidebar.selectbox(key="scenario_model").value == "g2p"
