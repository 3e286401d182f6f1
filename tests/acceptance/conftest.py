"""A world per test: nothing is left over from the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.acceptance.world import World


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World() as built:
        yield built
