"""The parts of KServe's SDK that the server uses; no other module imports the SDK."""

from __future__ import annotations

import sys

from secam_onnx.errors import MissingDependencyError

# KServe's SDK parses the command line of whatever program imports it, and exits where it does not understand it.
_arguments, sys.argv = sys.argv, sys.argv[:1]
try:
    import kserve.context as kserve_context
    from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelRepository
    from kserve.constants.constants import PredictorProtocol
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
    from kserve.metrics import EXPLAIN_HIST_TIME, PREDICT_HIST_TIME, get_labels
    from kserve.model import InferenceVerb
    from kserve.predictor_config import PredictorConfig
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as grpc_service
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import InferParameter
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.infer_type import RequestedOutput, serialize_byte_tensor, to_http_parameters
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
    from kserve.protocol.rest.v2_datamodels import InferenceRequest
    from kserve.protocol.rest.v2_endpoints import V2Endpoints, register_v2_endpoints
    from kserve.utils.numpy_codec import from_np_dtype
    from kserve.utils.utils import to_headers
except ImportError as error:
    raise MissingDependencyError(
        f'The server needs a package that is not installed ({error}). Run pip install "secam-onnx[serve]".'
    ) from error
finally:
    sys.argv = _arguments

__all__ = [
    "EXPLAIN_HIST_TIME",
    "PREDICT_HIST_TIME",
    "DataPlane",
    "InferInput",
    "InferOutput",
    "InferParameter",
    "InferRequest",
    "InferResponse",
    "InferenceRequest",
    "InferenceServicer",
    "InferenceVerb",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRepository",
    "ModelRepositoryExtension",
    "PredictorConfig",
    "PredictorProtocol",
    "RequestedOutput",
    "ServerNotReady",
    "V2Endpoints",
    "from_np_dtype",
    "get_labels",
    "grpc_service",
    "kserve_context",
    "register_v1_endpoints",
    "register_v2_endpoints",
    "serialize_byte_tensor",
    "to_headers",
    "to_http_parameters",
]
