"""Requests as dicts, and streams put together again."""

import json
from typing import Any, Protocol

Json = dict[str, Any]
PATH = "/v1/openai/completions"


class Response(Protocol):
    """What the clients of httpx and httpx2 agree on."""

    @property
    def status_code(self) -> int: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


def post(client: Any, path: str = PATH, headers: Json | None = None, **body: Any) -> Any:
    """A request that is valid unless `body` says otherwise."""
    body = {"model": "toy", "prompt": "w", "temperature": 0} | body
    return client.post(path, json={k: v for k, v in body.items() if v is not ...}, headers=headers)


def ask(client: Any, **body: Any) -> Json:
    """The body of an answer that succeeds."""
    response = post(client, **body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def choices(client: Any, **body: Any) -> list[Json]:
    found: list[Json] = ask(client, **body)["choices"]
    return found


def choice(client: Any, **body: Any) -> Json:
    [only] = choices(client, **body)
    return only


def events(text: str) -> list[Json]:
    """The events of a stream, which is framed to the letter."""
    assert text.endswith("\n\n")
    frames = text.removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    *found, done = (frame.removeprefix("data: ") for frame in frames)
    assert done == "[DONE]"
    return [json.loads(event) for event in found]


def stream(client: Any, **body: Any) -> list[Json]:
    response = post(client, **body, stream=True)
    assert response.status_code == 200, response.text
    return events(response.text)


def joined(parts: list[Json]) -> Json:
    """What the parts of a stream say together, in the shape of a whole response."""
    found: dict[int, Json] = {}
    usage = None
    for part in parts:
        [new] = part["choices"]
        usage = part.get("usage", usage)
        if new["index"] in found:
            extend(found[new["index"]], new)
        else:
            found[new["index"]] = new
    return {"choices": [found[i] for i in sorted(found)], "usage": usage}


def extend(whole: Json, new: Json) -> None:
    assert whole["finish_reason"] is None, "something follows the end of a choice"
    whole["text"] += new["text"]
    for key in "finish_reason", "stop_reason":
        whole[key] = new[key]
    for key in new["logprobs"] or ():
        whole["logprobs"][key] += new["logprobs"][key]


def places(response: Any) -> list[tuple[str, list[Any]]]:
    """(type, loc less "body") of the errors of a 422."""
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert all(error["loc"][0] == "body" and error["msg"] for error in detail)
    return [(error["type"], error["loc"][1:]) for error in detail]
