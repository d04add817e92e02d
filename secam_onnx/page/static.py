"""The page with its model as files for any web server."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.errors import ModelError, OutputError
from secam_onnx.export import export_model, open_source
from secam_onnx.files import new_file, output_errors
from secam_onnx.fusion import Fusion
from secam_onnx.graph.locate import model_file
from secam_onnx.graph.onnx_file import EXTERNAL_DATA_LIMIT, read_model, weight_bytes, write_model
from secam_onnx.page.content import INDEX, MODEL, page_files
from secam_onnx.progress import Progress, silent

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["check_folder", "model_for_browsers", "write_page"]


def model_for_browsers(model: str | os.PathLike[str], folder: Path, progress: Progress = silent) -> Path:
    """Write a fused model that browsers can run; the page chooses its classes.

    Parameters
    ----------
    model : path
        Any classifier that can be explained, fused or not.
    folder : path
        Where to write.
    progress : callable
        See `Progress`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        The model cannot be explained, or is too large for browsers.
    """
    file, target = model_file(model), folder / MODEL
    metadata = ModelMetadata.of(read_model(file))
    if metadata is None or metadata.fused is None:
        source = open_source(str(file))
        _check_size(source.model, file)
        export_model(source, target, fusion=Fusion(default_classes=False, overlay=False), progress=progress)
        return target
    whole = read_model(file, weights=True)
    _check_size(whole, file)
    # ONNX Runtime Web does not accept inputs with a default value.
    kept = [tensor for tensor in whole.graph.initializer if tensor.name != "classes"]
    del whole.graph.initializer[:]
    whole.graph.initializer.extend(kept)
    replace(metadata, fused=replace(metadata.fused, default_classes=False)).write_to(whole)
    write_model(whole, target)
    return target


def _check_size(model: ModelProto, file: Path) -> None:
    if weight_bytes(model) >= EXTERNAL_DATA_LIMIT:
        raise ModelError(f"{file} has more than 2 GB, which browsers cannot open; use a smaller model.")


def write_page(folder: Path, model: Path, *, force: bool = False) -> None:
    """Write the page and its model for any web server; all URLs in it are relative.

    Parameters
    ----------
    folder : path
        A new or empty folder, or one with an earlier page.
    model : path
        The file that `model_for_browsers` wrote.
    force : bool
        Write into a folder that holds other files.

    Raises
    ------
    OutputError
        The folder holds other files, or cannot be written.
    """
    check_folder(folder, force=force)
    for name, file in {**page_files(), MODEL: model}.items():
        with output_errors(folder):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with new_file(folder / name) as temporary:
            shutil.copyfile(file, temporary)


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse early what `write_page` would refuse."""
    with output_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; choose another name for the folder.")
        if force or not folder.exists() or not any(folder.iterdir()):
            return
        index = folder / INDEX
        if index.is_file() and b'content="secam-onnx"' in index.read_bytes():
            return
    raise OutputError(f"{folder} holds files that are not an earlier page; choose another folder, or use --force.")
