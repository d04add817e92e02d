"""The page that explains photographs in the browser: its files, its model, and a server for them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secam_onnx.page.content import MODEL as MODEL
    from secam_onnx.page.content import page_files as page_files
    from secam_onnx.page.static import check_folder as check_folder
    from secam_onnx.page.static import model_for_browsers as model_for_browsers
    from secam_onnx.page.static import write_page as write_page
    from secam_onnx.page.web_server import PageServer as PageServer

# Loaded on first use: `secam-onnx serve` needs the files only, not the modules that export models.
_HOMES = {
    "MODEL": "content",
    "PageServer": "web_server",
    "check_folder": "static",
    "model_for_browsers": "static",
    "page_files": "content",
    "write_page": "static",
}

__all__ = [  # noqa: PLE0604  (these are strings)
    *_HOMES
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"secam_onnx.page.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
