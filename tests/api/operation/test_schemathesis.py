"""Thousands of requests from the OpenAPI document, to a server on each backend."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.operation.server import serving
from tests.conformance import tiny_models
from tests.support.schemathesis_hooks import MODEL

pytestmark = pytest.mark.lane
ROOT = Path(__file__).parents[3]
EXAMPLES = 760  # of each operation
MIN_CASES = 8000


@pytest.mark.parametrize("backend", ["jax", "reference"])
def test_requests_of_the_document(backend: str, tmp_path: Path) -> None:
    """Every check of schemathesis, except that a request which violates the document must be
    refused: unknown fields are accepted, unless the server is strict.
    """
    model = tiny_models.write(tmp_path)
    with serving("--backend", backend, "--model", f"{MODEL}={model}") as server:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
        command += [server.address + "/openapi.json", "--checks", "all", "--seed", "11"]
        command += ["--exclude-checks", "negative_data_rejection", "--no-color"]
        command += ["--max-examples", str(EXAMPLES), "--continue-on-failure"]
        command += ["--request-timeout", "300", "--max-response-time", "300"]
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr
    [cases] = re.findall(r"([0-9]+) generated", result.stdout)
    assert int(cases) >= MIN_CASES
