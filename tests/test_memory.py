"""What memory there is, of a machine and of a container."""

from __future__ import annotations

import pytest

from posterity import memory


def test_there_is_memory_here() -> None:
    assert memory.available() > 10**6


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [("1000", "400", "100", 700), ("1000", "2000", "0", 0), ("max", "5", "0", None)],
)
def test_a_container_has_less(tmp_path, monkeypatch, limit, used, cached, left) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    found = memory.available()
    assert found == left if left is not None else found > 10**6


def test_half_of_it_may_be_taken(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1_000)
    assert memory.fits(500)
    assert not memory.fits(501)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.fits(10**18)  # who knows
