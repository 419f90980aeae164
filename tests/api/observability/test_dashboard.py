"""The Grafana dashboard shows the metrics that the server exports, and all of them."""

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.conftest import Build
from tests.api.http_client import post

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/dashboard.json"
NAME = re.compile(r"\b(?:completions|process)_\w+")


def expressions(panels: Any) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_dashboard_has_the_exported_names(build: Build) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    shown = set(NAME.findall(" ".join(expressions(dashboard["panels"]))))
    app = create_app([build()], max_concurrency=1)
    client = TestClient(app)
    post(client)
    [handle] = app.state.service.handles.values()
    with handle.admission.admit("", 1, 1):
        post(client)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    samples = {sample.name for family in families for sample in family.samples}
    assert shown <= samples, shown - samples
    ours = {f.name for f in families if f.name.startswith("completions_")}
    ours = {name for name in ours if not name.endswith("_created")}
    covered = {name for name in ours if any(sample.startswith(name) for sample in shown)}
    assert ours - covered == set()


def test_panels_have_places_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
