"""Servers of this room's tests that live longer than one test."""

import subprocess

import pytest

from tests.real_servers import ROOT


@pytest.fixture(scope="session")
def pypi_servers() -> None:
    subprocess.run([ROOT / "scripts/upstreams", "python"], check=True)


@pytest.fixture(scope="session")
def npm_servers() -> None:
    subprocess.run([ROOT / "scripts/upstreams", "node"], check=True)
