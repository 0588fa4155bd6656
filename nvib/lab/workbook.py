"""An Excel workbook's first sheet as texts: bounded before it is read; no formula or macro of it is run."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import openpyxl

from nvib.errors import NVError

ENDING = "xlsx"
MOST_BYTES = 64 * 2**20  # unpacked
MOST_TAGS = 1_000_000  # of one part: some 20,000 rows of a dozen cells
MOST_ROWS, MOST_COLUMNS = 1_048_576, 256  # rows: of any sheet
TOP = 100  # rows among which the first that is not empty is looked for
CHUNK = 2**20


def rows(shown: str, data: bytes, most: int) -> list[list[str]]:
    """The rows of the first visible sheet that are not empty, their cells as texts.

    A formula counts as the value that was saved with it, an error as nothing. Raises NVError with one sentence for
    what is no workbook, or has more than `most` rows under the first.
    """
    _bounded(shown, data)
    found: list[list[str]] = []
    try:
        for row in _cells(data):
            found.append(row)
            if len(found) > most + 1:
                break
    except Exception as error:  # a file that was made to be odd has openpyxl raise what its parts raise
        reason = (str(error).strip("'\"").splitlines() or [""])[0].rstrip(".")[:120] or type(error).__name__
        raise NVError(f"The file {shown} cannot be read as .{ENDING} ({reason}); save it anew.") from error
    if len(found) > most + 1:
        raise NVError(f"The file {shown} has more than {most:,} rows; that many are enough: shorten it.")
    return found


def _cells(data: bytes) -> Iterator[list[str]]:
    """The rows that are not empty, as wide as the first of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts that it leaves out, such as drawings
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        sheet = next(sheet for sheet in book.worksheets if sheet.sheet_state == "visible")
        top = sheet.iter_rows(max_row=TOP, max_col=MOST_COLUMNS)
        head = next(filter(any, ([_text(cell) for cell in row] for row in top)), [])
        width = max((n for n, text in enumerate(head, 1) if text), default=1)
        for row in sheet.iter_rows(max_row=MOST_ROWS, max_col=width):
            texts = [_text(cell) for cell in row]
            if any(texts):
                yield texts


def _text(cell: Any) -> str:
    if cell.value is None or cell.data_type == "e":
        return ""
    return str(cell.value).replace("_x000D_", "\r")  # as spreadsheets write it


def _bounded(shown: str, data: bytes) -> None:
    """Raises NVError for an archive that unpacks to more than can be meant, before anything is made of it."""
    unpacked = 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for part in archive.infolist():
                tags = 0
                with archive.open(part) as stream:
                    while chunk := stream.read(CHUNK):
                        unpacked, tags = unpacked + len(chunk), tags + chunk.count(b"<")
                        if unpacked > MOST_BYTES or tags > MOST_TAGS:
                            raise NVError(f"The file {shown} is too large once unpacked; leave the texts alone in it.")
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise NVError(f"The file {shown} is no .{ENDING} workbook; save it as one, without a password.") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, or a way of packing that Python has not
        raise NVError(
            f"The file {shown} is packed in a way that cannot be read; save it without a password."
        ) from error
