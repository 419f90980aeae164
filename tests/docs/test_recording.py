"""The recording of the site's page: what it has, and what the page makes of it."""

import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from docs.site.lessons import CARDS, OTHERS, at_work, card_settings, fragment
from docs.site.page import recorded_html
from docs.site.recording import (
    START,
    Recording,
    Tree,
    endpoint,
    explain,
    read_lessons,
    record,
    requests,
)
from explain.page import STATIC
from reference.bundle import Bundle
from reference.params import CompletionParams
from tests.support.coverage import CONTRACT

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
SCRIPT = Path(__file__).parent / "follow.mjs"

Json = dict[str, Any]

PROMPT, LAMP = "Once upon a time", "The lamp is"
COLORS = {"type": "regex", "regex": " (red|green|blue)"}
RECORDED: list[Json] = [
    {"prompt": PROMPT, "values": {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 12}},
    {"prompt": PROMPT, "values": {"temperature": 0, "max_tokens": 8, "logprobs": 2}},
    {"prompt": PROMPT, "values": {"n": 3, "seed": 1, "max_tokens": 5, "stop": ["a"]}},
    {"prompt": LAMP, "values": {"response_format": COLORS, "seed": 7, "max_tokens": 8}},
    {"prompt": LAMP, "values": {"temperature": 1, "seed": 3, "max_tokens": 6}},
]


@dataclass(frozen=True)
class Recorded:
    """A small recording in a folder, and the endpoint that it is of."""

    client: TestClient
    bundle: Bundle
    recording: Recording
    folder: Path

    def follow(self, requests: Sequence[Json]) -> Json:
        """Return what the page's module makes of some requests."""
        run = subprocess.run(
            [str(NODE), str(SCRIPT), str(self.folder)],
            input=json.dumps([{"forced": []} | request for request in requests]),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        result: Json = json.loads(run.stdout)
        return result

    def events(self, request: Json) -> list[Json]:
        return explain(
            self.client,
            request["prompt"],
            request["values"] | {"forced": request.get("forced", [])},
        )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("page")
    with endpoint() as (client, bundle):
        recording = record(client, bundle, RECORDED)
        recording.write(folder / "recording")
        (folder / "openapi.json").write_text(client.get("/openapi.json").text)
        yield Recorded(client, bundle, recording, folder)


def of_kind(events: list[Json], kind: str, choice: int = 0) -> list[Json]:
    return [e for e in events if e["object"] == f"explain.{kind}" and e.get("choice", 0) == choice]


def text_of(events: list[Json], choice: int = 0) -> str:
    parts = [part for event in events for part in event.get("choices", [])]
    return "".join(part["text"] for part in parts if part["index"] == choice)


def ends_of(events: list[Json], choice: int = 0) -> list[tuple[str, Any]]:
    parts = [part for event in events for part in event.get("choices", [])]
    own = [part for part in parts if part["index"] == choice and part["finish_reason"]]
    return [(part["finish_reason"], part["stop_reason"]) for part in own]


def test_tree_has_the_logits_of_each_token_once(recorded: Recorded) -> None:
    index, logits = recorded.recording.index, recorded.recording.logits
    assert [prompt["text"] for prompt in index["prompts"]] == [PROMPT, LAMP]
    for prompt in index["prompts"]:
        rows, nodes = logits[prompt["logits"]], prompt["nodes"]
        assert rows.shape == (len(nodes), len(index["vocabulary"])) and nodes[0] == (-1, -1)
        assert len(set(nodes)) == len(nodes)
        paths: list[list[int]] = [[]]
        for parent, token in nodes[1:]:
            paths.append([*paths[parent], token])
        assert len(set(map(tuple, paths))) == len(paths)
        for path in paths[:: max(1, len(paths) // 4)]:
            values = {"max_tokens": len(path) + 1, "seed": 5, "forced": path}
            last = of_kind(explain(recorded.client, prompt["text"], values), "token")[-1]
            assert b64decode(last["logits"]) == rows[paths.index(path)].astype("<f4").tobytes()


def test_other_logits_after_the_same_tokens_are_refused() -> None:
    token = {"object": "explain.token", "choice": 0, "id": 5, "logits": "A", "allowed": "M"}
    tree = Tree([1])
    tree.add({}, [token])
    tree.add({"seed": 1}, [token])
    with pytest.raises(ValueError, match="other values"):
        tree.add({}, [token | {"logits": "B"}])
    with pytest.raises(ValueError, match="other values"):
        tree.add({}, [token | {"allowed": "N"}])
    tree.add({"response_format": COLORS}, [token | {"allowed": "N"}])


def test_refused_request_is_an_error(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match="temperature"):
        record(recorded.client, recorded.bundle, [{"prompt": PROMPT, "values": {"temperature": 9}}])


def test_requests_are_those_of_the_start_and_of_each_card() -> None:
    sent = requests()
    assert sent[0] == START
    for lesson in read_lessons():
        for card in lesson["cards"]:
            settings = card["set"]
            for each in (settings, settings.get("pinned", settings)):
                assert {"prompt": each["prompt"], "values": each["values"]} in sent
    assert len({json.dumps(request) for request in sent}) == len(sent)


def test_html_has_a_policy_and_names_the_recording() -> None:
    html = (STATIC / "index.html").read_text()
    page = recorded_html(html)
    assert "default-src 'self'" in page and 'name="recording"' in page
    assert "frame-ancestors" not in page and "Recorded:" in page
    with pytest.raises(ValueError, match="header"):
        recorded_html(html.replace("</header>", ""))


def test_links_to_settings() -> None:
    assert set(CARDS) | set(OTHERS) <= set(CONTRACT)
    for name, (lesson, card) in CARDS.items():
        settings, _ = card_settings(lesson, card)
        assert name in settings["values"]
        assert f"lesson={lesson}.{card}" in at_work(name)
    assert at_work("user") == ""
    settings = {"prompt": "a\nb", "values": {"stop": ["."], "n": 2}, "against": "pinned"}
    assert fragment(settings) == "#prompt=a%0Ab&stop=%5B%22.%22%5D&n=2&against=pinned"


@needs_node
def test_start_is_that_of_the_page(recorded: Recorded) -> None:
    start = recorded.follow([])["start"]
    assert {"prompt": start["prompt"], "values": start["values"]} == START


@needs_node
def test_parameters_that_a_recording_does_not_follow_have_a_reason(recorded: Recorded) -> None:
    reasons = recorded.follow([])["reasons"]
    followed = set(vars(CompletionParams())) - set(reasons)
    assert followed == {
        *("temperature", "min_p", "top_k", "top_p", "seed", "max_tokens", "n", "stop"),
        *("repetition_penalty", "frequency_penalty", "presence_penalty"),
        *("stop_token_ids", "response_format"),
    }
    assert reasons["data"] == "Needs a server." and "response" in reasons["logprobs"]


@needs_node
def test_recorded_requests_have_the_events_of_the_endpoint(recorded: Recorded) -> None:
    results = recorded.follow(RECORDED)["results"]
    for request, result in zip(RECORDED, results, strict=True):
        expected, actual = recorded.events(request), result["events"]
        volatile = {"id", "created"}
        assert [e["object"] for e in expected] == [e["object"] for e in actual]
        for a, b in zip(actual, expected, strict=True):
            if a["object"] == "text_completion":
                a, b = ({k: v for k, v in e.items() if k not in volatile} for e in (a, b))
                assert a == b
            elif a["object"] == "explain.token":
                names = ("choice", "position", "id", "text", "forced")
                assert [a[n] for n in names] == [b[n] for n in names]
                assert a["p"] == pytest.approx(b["p"], rel=1e-5)
                bits = np.frombuffer(b64decode(b["allowed"]), np.uint8)
                assert (
                    a["allowed"] == np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()
                )


def random_request(rng: np.random.Generator) -> Json:
    """Draw a request: each parameter is at its default, at an end of its range, or inside."""
    values: Json = {
        "temperature": [0, 0.3, 0.8, 1.4, 2],
        "min_p": [0.05, 0.3, 1],
        "top_k": [1, 4, 40],
        "top_p": [0, 0.5, 0.9],
        "repetition_penalty": [0.5, 1.3],
        "frequency_penalty": [-2, 1],
        "presence_penalty": [-1, 2],
        "stop": [[" a"], ["th", "e w"], [","]],
        "stop_token_ids": [[2, 300], [275]],
        "n": [2, 4],
        "echo": [True],
    }
    chosen = {
        name: options[rng.integers(len(options))]
        for name, options in values.items()
        if rng.random() < 0.4
    }
    chosen |= {"seed": int(rng.integers(-(2**40), 2**40)), "max_tokens": int(rng.integers(1, 13))}
    prompt = PROMPT
    if rng.random() < 0.3:
        prompt, chosen["response_format"] = LAMP, COLORS
    return {"prompt": prompt, "values": chosen}


@needs_node
def test_other_settings_are_followed_as_far_as_logits_are_known(recorded: Recorded) -> None:
    """The tokens are those of the endpoint, and end only where the recording does."""
    rng = np.random.default_rng(0)
    sent = [random_request(rng) for _ in range(80)]
    trees = {p["text"]: p for p in recorded.recording.index["prompts"]}
    cut = complete = 0
    for request, result in zip(sent, recorded.follow(sent)["results"], strict=True):
        expected, actual = recorded.events(request), result["events"]
        tree = trees[request["prompt"]]
        children = {(parent, token): i for i, (parent, token) in enumerate(tree["nodes"])}
        formats = tree["formats"] if "response_format" in request["values"] else []
        for choice in range(request["values"].get("n", 1)):
            own = [t["id"] for t in of_kind(expected, "token", choice)]
            ids = [t["id"] for t in of_kind(actual, "token", choice)]
            assert ids == own[: len(ids)], request
            text = text_of(expected, choice)
            if of_kind(actual, "unrecorded", choice):
                cut += 1
                node = 0
                for token in ids[:-1]:
                    node = children[node, token]
                last = children.get((node, ids[-1]))
                assert last is None or any(str(last) not in map(str, f["masks"]) for f in formats)
                assert text.startswith(text_of(actual, choice)) and not ends_of(actual, choice)
            else:
                complete += 1
                assert (ids, text_of(actual, choice)) == (own, text), request
                assert ends_of(actual, choice) == ends_of(expected, choice), request
    assert cut > 20 and complete > 20


@needs_node
def test_forced_tokens_are_followed(recorded: Recorded) -> None:
    [prompt, _] = recorded.recording.index["prompts"]
    path = [token for parent, token in prompt["nodes"] if parent == 0][-1:]
    request = {
        "prompt": PROMPT,
        "values": {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 1},
        "forced": path,
    }
    [result] = recorded.follow([request])["results"]
    [token] = of_kind(result["events"], "token")
    [expected] = of_kind(recorded.events(request), "token")
    assert token["forced"] and token["id"] == expected["id"] == path[0]


@needs_node
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": "Twice upon a time"}, "prompt"),
        ({"values": {"temperature": 2.5}}, "temperature"),
        ({"values": {"temperature": "hot"}}, "temperature"),
        ({"values": {"top_k": 1.5}}, "top_k"),
        ({"values": {"n": 5}}, "n"),
        ({"values": {"max_tokens": 0}}, "max_tokens"),
        ({"values": {"seed": str(2**64)}}, "seed"),
        ({"values": {"seed": "seven"}}, "seed"),
        ({"values": {"stop": [str(i) for i in range(17)]}}, "stop"),
        ({"values": {"stop": ["<s>"]}}, "stop"),
        ({"values": {"stop_token_ids": [-1]}}, "stop_token_ids"),
        ({"values": {"stop_token_ids": [1]}}, "stop_token_ids"),
        ({"values": {"response_format": {"type": "json_object"}}}, "response_format"),
        ({"values": {"data": {"image": ["data:image/png;base64,AA=="]}}}, "data"),
        ({"forced": [0]}, "forced"),
    ],
    ids=str,
)
def test_requests_that_cannot_be_followed_are_refused_by_name(
    recorded: Recorded, change: Json, field: str
) -> None:
    request = {"prompt": PROMPT, "values": {"seed": 7}} | change
    assert list(recorded.follow([request])["results"][0]["refused"]) == [field]
