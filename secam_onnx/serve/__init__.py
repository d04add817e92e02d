"""A server that explains, on KServe's SDK: its protocols, our model class and our limits.

From the ground up: `settings`, `failures`, `context` (one request's notes) and `metrics`; `batching` and `engine` (from
encoded images to explanations); `parameters`, `photographs`, `questions` and `replies` (from a protocol's request, to
its response); `model` (what KServe calls) and `dataplane`; `openapi`, `pages`, `application`, `gate` and `connection`
(in front of it, over HTTP) and `calls` (over gRPC); `server`, one process; `workers`, several.
"""

import sys

from secam_onnx.errors import MissingDependencyError

# KServe's SDK reads the command line of whatever program imports it, and ends it where that reads differently.
_arguments, sys.argv = sys.argv, sys.argv[:1]
try:
    import kserve  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        f'The server needs a package that is not installed ({error}). Run pip install "secam-onnx[serve]".'
    ) from error
finally:
    sys.argv = _arguments
