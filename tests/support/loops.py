"""Coroutines in tests: in a thread of their own, as Playwright keeps an event loop in the main one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Value = TypeVar("Value")


def in_loop(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """What it returns; what it raises is raised here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
