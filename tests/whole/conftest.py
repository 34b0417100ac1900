"""Recorders, viewers and dashboards as real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nursery import RECORDER, VIEWER, Nursery, nursery


@pytest.fixture(scope="session")
def processes() -> Iterator[Nursery]:
    with nursery(VIEWER, *RECORDER) as made:
        yield made
