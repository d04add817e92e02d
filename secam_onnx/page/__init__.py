"""The page that explains photographs in the browser: its files, the model that goes with them, and a server."""

from secam_onnx.page.server import PageServer
from secam_onnx.page.static import MODEL, check_folder, model_for_browsers, page_files, write_page

__all__ = ["MODEL", "PageServer", "check_folder", "model_for_browsers", "page_files", "write_page"]
