"""A server that explains what it predicts, built on KServe's SDK.

From the ground up:

- `request/`: what a request means, without the SDK
- `settings`, `request_errors`, `request_context` (one request's notes), `metrics`, `logs`, `access_log`, `api_keys`
- `batching`, `async_explainer`: from photographs to explanations
- `kserve_sdk`, `request_parsing` and `responses`, `kserve_model` (what KServe calls), `kserve_data_plane`
- over HTTP: `openapi`, `page_routes`, `http_application`, `guard`, `http_connection`; over gRPC: `grpc_server`
- `server`, one process; `workers`, several
"""
