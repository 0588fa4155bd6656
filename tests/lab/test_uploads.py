"""Files as texts."""

import pytest

from nvib import NVError
from nvib.lab.uploads import texts


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", "one\n\n two \r\nthree", ["one", "two", "three"]),
        ("a.TXT", "\ufeffone", ["one"]),
        ("a.csv", 'id,text\n1,"one, with comma"\n2,\n3,"two\nlines"\n', ["one, with comma", "two\nlines"]),
        ("a.csv", "text\nNA\n1.50\n", ["NA", "1.50"]),
        ("a.jsonl", '{"text": "one"}\n{"text": "zwei ü"}\n{"other": 1}\n', ["one", "zwei ü"]),
    ],
)
def test_texts_of_a_file(name, data, expected):
    assert texts(name, data.encode()) == expected


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.pdf", b"x", "none of .txt, .csv and .jsonl"),
        ("a", b"x", "none of"),
        ("a.txt", b"", "holds no text; put one on each line, or in its column 'text'"),
        ("a.txt", b"caf\xe9", "not UTF-8 at byte 3"),
        ("a.csv", b"id\n1\n", "has no column 'text'; name the column of the texts so"),
        ("a.csv", b"", "cannot be read"),
        ("a.csv", b'text\n"open', "cannot be read"),
        ("a.jsonl", b"{", "cannot be read"),
        ("a.jsonl", b'{"text": 5}', "holds no text"),
        ("a.jsonl", b"[1, 2]", "no column 'text'"),
        ("a.txt", b"x\n" * 20_001, "20,001 texts; 20,000 are enough: shorten it"),
        ("n" * 500 + ".txt", b"", "holds no text"),
    ],
)
def test_a_file_without_texts_is_one_sentence(name, data, sentence):
    with pytest.raises(NVError, match=sentence) as told:
        texts(name, data)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize(
    ("data", "sentence"),
    [("text\n" + "," * 100_000, "has more fields in a row than columns"),
     ('text\n \n"a, b"' + "," * 100_000, "has more fields in a row than columns"),
     ("sep=;\n\ntext\r" + ";" * 100_000, "has more fields in a row than columns"),
     ("text" + "," * 1000 + "\na", "it has 1,001 columns, and may have 1,000")],
)  # fmt: skip
def test_a_row_of_commas_is_refused_before_it_is_made_a_table(data, sentence, monkeypatch):
    """As pandas makes one, a hundred thousand take the better part of a minute."""
    monkeypatch.setattr("nvib.lab.uploads.pd.read_csv", None)  # to call it would be an error
    with pytest.raises(NVError, match=sentence):
        texts("a.csv", data.encode())


def test_a_long_cell_is_a_text():
    """Of more characters than Python's own reader of tables takes unless it is told to."""
    assert texts("a.csv", f'text,id\n"{"x" * 200_000}",1\n'.encode()) == ["x" * 200_000]
    assert texts("a.csv", ("text" + "," * 999 + "\na\n").encode()) == ["a"]
