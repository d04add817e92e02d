"""Logs as lines of JSON on standard error, from this package, the SDK and the HTTP server alike."""

from __future__ import annotations

import logging
import logging.config
import warnings
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from secam_onnx.errors import PreprocessingWarning
from secam_onnx.shown_text import shown, shown_lines

__all__ = ["configure"]


_LINES = ("exc_info", "stack_info")  # tracebacks
_LONGEST = 2000  # characters of any other field


class _Formatter(JsonFormatter):
    """Objects whose text may be shown also by those who read one field of them: `jq -r .message`."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: _shown(name, value) for name, value in super().process_log_record(log_data).items()}


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return shown_lines(value) if name in _LINES else shown(value, _LONGEST)


def configure(level: str = "INFO") -> None:
    """Write logs as JSON, one object a line: `time`, `level`, `logger`, `message` and further fields."""
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    formatter = {
        "()": _Formatter,
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
