"""What processes under test are started with."""

from __future__ import annotations

import os

# Coverage is not measured: its tracer takes a lock now and then, and a signal that comes while it holds that waits for
# it for ever. Compiled modules are files as well, renamed into place; they are no test's business.
UNMEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
UNMEASURED["PYTHONDONTWRITEBYTECODE"] = "1"
"""The environment of one that is sent a signal, or whose files are counted."""
