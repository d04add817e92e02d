"""A server that explains, on KServe's SDK: its protocols, our model class and our limits.

From the ground up: `request/` (what a request means, without the SDK); `settings`, `failures`, `context` (one request's
notes) and `metrics`; `batching` and `engine` (from encoded images to explanations); `kserve_sdk`; `questions` and
`replies` (from a protocol's request, to its response); `kserve_model` (what KServe calls) and `dataplane`; `openapi`,
`pages`, `application`, `gate` and `connection` (in front of it, over HTTP) and `grpc_server`; `server`, one process;
`workers`, several.
"""
