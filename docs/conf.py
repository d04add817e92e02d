"""Sphinx builds the site from the Markdown of the whole repository: `nox -s docs` writes it to `build/site`.

The source folder is the repository's root, so that a link such as `../benchmarks/gpu.md` leads somewhere in the site
and wherever the file itself is read.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "secam-onnx"
author = "secam-onnx developers"
project_copyright = author
version = release = version_of("secam-onnx")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "mathml",
    "offline",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "benchmarks/*.md",
    "deploy/README.md",
    "examples/README.md",
    "models/README.md",
    "studies/**.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/README.md", ".*", "build", "dist", "**/node_modules", "**/.*"]
nitpicky = True
default_role = "code"  # single backticks, as docstrings and help texts have them

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # benchmarks have tables before their first sub-heading

autodoc_typehints = "none"  # numpydoc's tables have the types, with shapes
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system says
html_sidebars = {name: [] for name in ("docs/index", "docs/tutorial", "docs/agents", "CONTRIBUTING", "SECURITY")}
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navigation_depth": 2,
    "pygments_dark_style": "github-dark",
    "pygments_light_style": "a11y-light",
    "show_toc_level": 2,
}
html_title = "secam-onnx"
html_static_path = ["_static"]
html_extra_path = ["_root", "../llms.txt"]  # the first leads from the root of the site to docs/
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
