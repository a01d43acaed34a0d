from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.databases import KINDS, Place


@pytest.fixture(scope="module", params=KINDS)
def each_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tests of a module run once for each kind of database."""
    if request.param == "postgresql":
        Place.dsn = request.getfixturevalue("postgres").database()
    yield request.param
    Place.dsn = None
