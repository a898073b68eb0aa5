"""How convolutions are computed in a test."""

from __future__ import annotations

import pytest

from cpu.conv.comparing import force


@pytest.fixture(params=["patches", "spectra"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All convolutions by patches, or all by spectra, whatever they cost."""
    force(request.param, monkeypatch)
    return request.param
