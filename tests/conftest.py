"""Shared by every test: how hypothesis searches, and the embedded model."""

import os

import pytest
from hypothesis import settings

from reference.model import EMBEDDED, Model, load

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session")
def model() -> Model:
    return load(EMBEDDED / "text")
