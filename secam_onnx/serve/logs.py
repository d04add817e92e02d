"""Logs as lines of JSON on standard error, from this package, the SDK and the HTTP server alike."""

from __future__ import annotations

import logging
import logging.config
import warnings

from secam_onnx.errors import PreprocessingWarning

__all__ = ["configure"]


def configure(level: str = "INFO") -> None:
    """Write logs as JSON, one object a line: `time`, `level`, `logger`, `message` and further fields."""
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
                "kserve": {**quiet, "level": "CRITICAL"},  # it logs every bad request with a traceback
            },
        }
    )
    logging.captureWarnings(True)
    warnings.simplefilter("once", RuntimeWarning)
    warnings.simplefilter("ignore", PreprocessingWarning)  # the line about the model says it
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # also in worker processes, which the command line does not set up
