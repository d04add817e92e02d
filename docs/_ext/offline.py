"""The site is read without a network: no page may load a script, style, font or picture from elsewhere."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.util.typing import ExtensionMetadata

LOADED = re.compile(r"""(?:\ssrc=|<link[^>]+href=|url\()["']?(?:https?:)?//[^"')\s>]+""")


def _check(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for page in sorted(path for path in Path(app.outdir).rglob("*") if path.suffix in {".html", ".css"}):
            for found in LOADED.findall(page.read_text(encoding="utf-8")):
                getLogger(__name__).warning("%s loads something from elsewhere: %s", page, found)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register with Sphinx."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
