"""Lines of JSON on standard error, from us, the SDK and the HTTP server alike."""

from __future__ import annotations

import logging
import logging.config
import warnings

from secam_onnx.errors import PreprocessingWarning

__all__ = ["configure"]


def configure(level: str = "INFO") -> None:
    """Write logs as JSON, one line each: `time`, `level`, `logger`, `message` and what else there is to say."""
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    formatter = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "format": "{asctime}{levelname}{name}{message}",
        "style": "{",
        "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        "datefmt": "%Y-%m-%dT%H:%M:%S%z",
    }
    quiet = {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {"stderr": handler},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "secam_onnx": {"handlers": ["stderr"], "level": level, "propagate": False},
                "uvicorn": quiet,
                "kserve": {**quiet, "level": "CRITICAL"},  # it logs every bad request with its traceback
            },
        }
    )
    logging.captureWarnings(True)
    warnings.simplefilter("once", RuntimeWarning)
    warnings.simplefilter("ignore", PreprocessingWarning)  # the model's own log line says it
    warnings.filterwarnings("ignore", module=r"PIL\.")  # also in processes that the command line did not start
