"""Files of this program: written completely or not at all, safe to open, and locked while in use.

atomic.py     a file gets its name when it is complete
json_file.py  objects as JSON, with a digest of their values
csv_table.py  tables that no spreadsheet runs and no terminal obeys
lock.py       what one process holds at a time
safe_name.py  names of files for what is called by an Id
"""

from hpa_jax.files.atomic import (
    NOT_SUPPORTED,
    PARTIAL_SUFFIX,
    check_writable,
    complete_file,
    is_partial,
    partial_path,
    remove_partial_files,
    remove_partial_files_of,
    sync_folder,
    write_atomically,
)
from hpa_jax.files.csv_table import csv_cell, csv_text, plain_cell, write_csv, write_csv_lines
from hpa_jax.files.json_file import SHA256, json_digest, read_json, sealed, write_json
from hpa_jax.files.lock import exclusive_lock, locked
from hpa_jax.files.safe_name import safe_stem

__all__ = [
    "NOT_SUPPORTED",
    "PARTIAL_SUFFIX",
    "SHA256",
    "check_writable",
    "complete_file",
    "csv_cell",
    "csv_text",
    "exclusive_lock",
    "is_partial",
    "json_digest",
    "locked",
    "partial_path",
    "plain_cell",
    "read_json",
    "remove_partial_files",
    "remove_partial_files_of",
    "safe_stem",
    "sealed",
    "sync_folder",
    "write_atomically",
    "write_csv",
    "write_csv_lines",
    "write_json",
]
