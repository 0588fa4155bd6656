"""Files as spreadsheets and other programs write them: names of columns, separators, and Excel's workbooks."""

import csv
import datetime
import io
import zipfile

import openpyxl
import pandas as pd
import pytest

from nvib import NVError
from nvib.__main__ import main
from nvib.lab import workbook
from nvib.lab.uploads import MOST_TEXTS, SOURCE, pairs, read, texts

ROWS = [("Größe; zählt, „ja“", "size"), ("two\nlines", "日本"), ("NA", "007"), ("tab\there", ""), ("😀", "a,b")]


def book(rows, **sheets):
    """The bytes of a workbook: a first sheet, then others by name."""
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    for name, found in sheets.items():
        sheet = made.create_sheet(name)
        for row in found:
            sheet.append(row)
    data = io.BytesIO()
    made.save(data)
    return data.getvalue()


def table(head, separator, coding):
    """As a spreadsheet saves it."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([head, *ROWS])
    return text.getvalue().encode(coding)


@pytest.mark.parametrize(
    "head",
    [("text", "target"), ("Text", "Target"), ("TEXT", " REFERENCE "), ("sentence", "Translation"),
     ("Prompt", "completion"), ("source", "target"), ("input", "output"), ("document", "summary")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("separator", "coding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16"), (";", "utf-16"), (",", "utf-8-sig")]
)
def test_a_table_is_read_however_it_is_named_parted_and_encoded(head, separator, coding):
    assert pairs("a.csv", table(head, separator, coding)) == ROWS
    assert texts("a.csv", table(head, separator, coding)) == [text for text, _ in ROWS]
    assert pairs("A.XLSX", book([head, *ROWS])) == ROWS


def test_a_first_line_may_name_the_separator():
    assert pairs("a.csv", b"sep=;\r\nText;Target\r\na,b;c\r\n") == [("a,b", "c")]
    assert pairs("a.csv", b"sep=|\ntext|target\na,b|c\n") == [("a,b", "c")]


def test_our_own_names_count_before_others():
    said = "source,text,output,reference,target,Text\nwiki,a,o,r,t,x\n"
    found = read("a.csv", said.encode())
    assert (found.pairs, found.text, found.target, found.told) == ([("a", "t")], "text", "target", "")
    found = read("a.jsonl", b'{"Prompt": "a"}\n{"Prompt": "b", "OUTPUT": "c"}\n')
    assert found.pairs == [("a", ""), ("b", "c")]
    assert found.told == "texts from its column 'Prompt' and targets from its column 'OUTPUT'"


@pytest.mark.parametrize(
    ("head", "told"),
    [("sentence,source", "has the columns 'sentence' and 'source', which may be the same; name one of them 'text'"),
     ("Prompt,Input,target", "has the columns 'Prompt' and 'Input', which may be the same; name one of them 'text'"),
     ("text,summary,output", "has the columns 'summary' and 'output', .* name one of them 'target'")],
)  # fmt: skip
def test_columns_of_one_meaning_are_not_guessed_at(head, told):
    data = f"{head}\n{','.join('abc'[: head.count(',') + 1])}\n".encode()
    with pytest.raises(NVError, match=told):
        pairs("a.csv", data)
    if head.startswith("text"):
        assert texts("a.csv", data) == ["a"]  # who looks for no target need not name one


def test_a_workbook_is_what_another_reader_finds():
    rows = [["id", "text", "target"], [1, "=1+1 is two", 2.5], [2, True, None], [None, None, None], [3, 12, "x"]]
    data = book(rows)
    found = pairs("a.xlsx", data, empty=True)
    theirs = pd.read_excel(io.BytesIO(data), dtype=str, keep_default_na=False).iloc[1:, 1:].to_numpy().tolist()
    assert [list(pair) for pair in found[1:] if any(pair)] == [row for row in theirs if any(row)]
    assert found[1:] == [("True", ""), ("12", "x")]
    assert found[0] == ("", "2.5")  # a formula that nobody has computed has no value, and none is run


def test_errors_dates_and_other_sheets_of_a_workbook():
    rows = [["text"], ["#N/A"], [datetime.date(2024, 2, 29)], ["whole_x000D_\nline"]]
    data = book(rows, notes=[["text"], ["of another sheet"]])
    assert [text for text, _ in pairs("a.xlsx", data)] == ["2024-02-29 00:00:00", "whole\r\nline"]
    made = openpyxl.load_workbook(io.BytesIO(data))
    made.active = 1
    made.worksheets[0].sheet_state = "hidden"
    out = io.BytesIO()
    made.save(out)
    assert texts("a.xlsx", out.getvalue()) == ["of another sheet"]


def test_a_table_of_ours_that_excel_saved_comes_back():
    rows = [["text", "target", SOURCE], ["'=1", "'tis", "x"], ["'-0.5", "b", "x"]]
    assert pairs("a.xlsx", book(rows)) == [("=1", "'tis"), ("-0.5", "b")]


def packed(**parts):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def with_sheet(xml):
    """A workbook whose first sheet has other XML."""
    source, data = zipfile.ZipFile(io.BytesIO(book([["text"], ["a"]]))), io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in source.infolist():
            sheet = part.filename == "xl/worksheets/sheet1.xml"
            archive.writestr(part.filename, xml if sheet else source.read(part))
    return data.getvalue()


SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
)
HEAD = '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c></row>'
ENTITIES = '<!DOCTYPE a [<!ENTITY a "xxxxxxxxxx">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 30}">' for a, b in ("ab", "bc", "cd", "de", "ef")
)
BAD = {
    "no archive": (b"text\na\n", "is no .xlsx workbook; save it as one, without a password"),
    "half of one": (book(ROWS)[:-400], "is no .xlsx workbook"),
    "another archive": (packed(a="x"), "cannot be read as .xlsx .*; save it anew"),
    "a bomb": (packed(a=bytes(workbook.MOST_BYTES + 1)), "is too large once unpacked; leave the texts alone in it"),
    "cells without end": (with_sheet(SHEET.format(HEAD + "<c/>" * 1_100_000)), "is too large once unpacked"),
    "entities": (with_sheet(ENTITIES + "]>" + SHEET.format("<row><c>&f;</c></row>")), "cannot be read as .xlsx"),
    "no XML": (with_sheet("<worksheet"), "cannot be read as .xlsx"),
    "no column": (book([["words"], ["a"]]), "has no column 'text'; name the column of the texts so"),
    "nothing": (book([]), "has no column 'text'"),
    "a head alone": (book([["text"]]), "holds no text"),
    "a row too far": (with_sheet(SHEET.format(HEAD + '<row r="99999999999"/>')), "holds no text"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_workbook_that_cannot_be_read_is_one_sentence(what):
    data, sentence = BAD[what]
    with pytest.raises(NVError, match=sentence) as told:
        pairs("a.xlsx", data)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


def test_a_way_of_packing_that_is_unknown_is_one_sentence():
    data = bytearray(packed(a="x"))
    for mark, at in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        data[data.index(mark) + at] = 99
    with pytest.raises(NVError, match="is packed in a way that cannot be read; save it without a password"):
        pairs("a.xlsx", bytes(data))


def test_as_many_rows_as_texts_are_read_and_no_more():
    row = '<row><c t="inlineStr"><is><t>a</t></is></c></row>'
    assert len(pairs("a.xlsx", with_sheet(SHEET.format(HEAD + row * MOST_TEXTS)))) == MOST_TEXTS
    with pytest.raises(NVError, match="has more than 20,000 rows; that many are enough: shorten it"):
        pairs("a.xlsx", with_sheet(SHEET.format(HEAD + row * 30_000)))


def test_the_command_line_takes_a_workbook(tmp_path, capsys):
    path = tmp_path / "mine.xlsx"
    path.write_bytes(book([["Sentence"], *([f"cat {n}"] for n in range(4))]))
    out = str(tmp_path / "prior.safetensors")
    assert main(["prior", "--model", "g2p", "--texts", str(path), "--out", out]) == 0, capsys.readouterr().err
