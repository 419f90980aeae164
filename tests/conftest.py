"""Shared by every test: how hypothesis searches, the embedded model, and what serves it."""

import os
from collections.abc import Iterator

import jax
import pytest
from hypothesis import settings

from api import __main__ as command_line
from api.arguments import parser
from api.engine import Served
from reference.bundle import EMBEDDED, Bundle, load_bundle

jax.config.update("jax_num_cpu_devices", 8)  # all but the first are for a mesh (test_sharding)

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What takes long to compile is kept for the tests of this process that need the same."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session")
def model() -> Bundle:
    return load_bundle(EMBEDDED / "text")


def serve(backend: str, name: str = "text") -> Served:
    """An embedded model, as `make run` would serve it."""
    builders = command_line.BACKENDS
    options = ["--model", str(EMBEDDED / name), "--served-model-name", f"tiny-{name}"]
    return builders[backend](parser(builders).parse_args(["--backend", backend, *options]))


@pytest.fixture(scope="session")
def reference_served() -> Iterator[Served]:
    served = serve("reference")
    yield served
    served.engine.close()


@pytest.fixture(scope="session")
def jax_served() -> Iterator[Served]:
    served = serve("jax")
    yield served
    served.engine.close()
