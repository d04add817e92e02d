"""Files: written whole or not at all, read without waiting for what is no file, and folders locked for one run."""

from secam_onnx.files.folder_lock import FolderLock
from secam_onnx.files.reading import (
    NotRegularError,
    file_state,
    open_regular,
    read_regular,
    regular_file,
    sha256,
    unchanged,
)
from secam_onnx.files.writing import (
    new_file,
    new_folder,
    output_errors,
    printable,
    remove_leftovers,
    remove_unfinished,
    temporary_folder,
)

__all__ = [
    "FolderLock",
    "NotRegularError",
    "file_state",
    "new_file",
    "new_folder",
    "open_regular",
    "output_errors",
    "printable",
    "read_regular",
    "regular_file",
    "remove_leftovers",
    "remove_unfinished",
    "sha256",
    "temporary_folder",
    "unchanged",
]
