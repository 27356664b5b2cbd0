"""Label files as text and as tables, however they were saved: by a script, Excel or a browser.

UTF-8 with or without a mark, UTF-16 with one, gzipped or not whatever the name says; columns apart
by comma, semicolon or tab; blank rows don't count. What is no text is named for what it is.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError

SEPARATORS = ",;\t"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_KINDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV (UTF-8)",
    b"%PDF": "a PDF: get the file itself",
    b"\x89PNG": "an image: get the file itself",
    b"\xff\xd8\xff": "an image: get the file itself",
    b"PAR1": "a parquet file: save it as CSV (UTF-8)",
    b"\x93NUMPY": "a NumPy array: write it as docs/datasets/labels.md says",
    b"\x80\x02": "a Python pickle, which is never run: write it as docs/datasets/labels.md says",
    b"\x80\x03": "a Python pickle, which is never run: write it as docs/datasets/labels.md says",
    b"\x80\x04": "a Python pickle, which is never run: write it as docs/datasets/labels.md says",
    b"version https://git-lfs": "a Git LFS pointer, not the file: fetch it with git lfs pull",
}
"""How files begin that are no labels -> what they are and what to do."""
_WEB_PAGE = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<script")


def read_text(file: Path) -> str:
    """The text of a label file.

    Raises:
        RlqkitError: it can't be read, or is no text; what it is and the row are named.
    """
    content = _content(file)
    what = kind_of(content)
    if what:
        raise RlqkitError(f"{file} is {what}")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:1000]:
        raise RlqkitError(f"{file} is UTF-16 without a mark, or no text: save it as CSV (UTF-8)")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start : error.start + 1].hex()
        raise RlqkitError(
            f"{file}: row {row} is no {encoding.upper()} (byte 0x{byte}): save the file as CSV "
            "(UTF-8)"
        ) from None


def kind_of(content: bytes) -> str:
    """What a file that begins like this is, and what to do, if it can't be labels; else ""."""
    if content.lstrip()[:200].lower().startswith(_WEB_PAGE):
        return "a web page, not the file (a download that asked for something): download it again"
    return next((what for start, what in _KINDS.items() if content.startswith(start)), "")


def read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """All cells of a CSV as text, as they stand; the index is each row's line in the file.

    Decimal commas become points where commas don't separate columns.

    Raises:
        RlqkitError: no text, no table, or one without these columns.
    """
    text = read_text(file)
    lines, header = text.splitlines(keepends=True), 0
    while header < len(lines) and (not lines[header].strip() or _is_excels(lines[header])):
        header += 1
    text = "".join(lines[header:])
    separator = separator_of(text)
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False,
            skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except ValueError as error:  # pandas' parser errors are ValueErrors
        reason = (str(error).strip() or "it is empty").splitlines()[0]
        raise RlqkitError(f"{file} can't be read as a table ({reason}): restore it") from None
    table.columns = table.columns.str.strip()
    for column in columns:
        if column not in table.columns:
            has = ", ".join(map(str, table.columns[:8]))
            raise RlqkitError(
                f"{file} has no column '{column}': its header must name it (it has {has})"
            )
    table.index = pd.RangeIndex(header + 2, header + 2 + len(table))
    table = table.fillna("")  # cells behind a row's end
    empty = table[table.iloc[:, 0].str.strip() == ""]
    blank = empty.index[(empty.apply(lambda cells: cells.str.strip()) == "").all(axis=1)]
    table = table.drop(index=blank)
    if separator != ",":
        table = table.replace(r"^\s*(-?\d+),(\d+)\s*$", r"\1.\2", regex=True)
    return table


def numbers(table: pd.DataFrame) -> NDArray[np.float64]:
    """Cells as numbers, (rows, columns) float64; NaN where one is none."""
    try:
        return table.to_numpy(dtype=object).astype(np.float64)  # five times as fast
    except ValueError:
        return table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)


def separator_of(text: str) -> str:
    """What stands between columns: that of SEPARATORS which the first line has most of."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=header.count)


def _is_excels(line: str) -> bool:
    return line[:4].lower() == "sep="


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = (str(error) or "it ends too early").splitlines()[0]
        raise RlqkitError(f"{file} can't be read ({reason}): restore it") from None
