"""Logs as the server writes them: the library's own default draws a failure with all its locals, and takes seconds."""

from __future__ import annotations

import pytest

from sidecar.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _logs() -> None:
    configure_logging("INFO")
