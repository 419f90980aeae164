"""Fixtures of every test: hypothesis profiles, the embedded model, and served models."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import settings
from jaxtyping import config as jaxtyping_config

from api import __main__ as command_line
from api.engine import ServedModel
from api.options.arguments import build_parser
from reference.bundle import EMBEDDED, Bundle, load_bundle

jax.config.update("jax_num_cpu_devices", 8)  # for the meshes of test_sharding

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_collection_finish() -> None:
    """Keep what exists now out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check the shapes of arrays only in the tests of arrays: in those of servers it takes a third
    of the time, and checks what the tests of arrays check.
    """
    parts = request.path.relative_to(Path(__file__).parent).parts
    jaxtyping_config.update("jaxtyping_disable", parts[0] not in ("reference", "jax_backend"))
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share compiled programs between all tests and worker processes of this run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    jax.config.update("jax_compilation_cache_dir", str(shared / "xla"))
    # With a maximum size JAX locks the files, so that several processes can use them.
    jax.config.update("jax_compilation_cache_max_size", 2**34)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session")
def model() -> Bundle:
    return load_bundle(EMBEDDED / "text")


def serve(backend: str, name: str = "text") -> ServedModel:
    """Load an embedded model as `make run` serves it, with fewer batch sizes to compile."""
    backends = command_line.BACKENDS
    options = build_parser(backends).parse_args(["--backend", backend, "--slots", "4"])
    return backends[backend](options, f"tiny-{name}", EMBEDDED / name)


@pytest.fixture(scope="session")
def reference_served() -> Iterator[ServedModel]:
    served = serve("reference")
    yield served
    served.engine.close()


@pytest.fixture(scope="session")
def jax_served() -> Iterator[ServedModel]:
    served = serve("jax")
    yield served
    served.engine.close()
