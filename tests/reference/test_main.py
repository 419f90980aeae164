"""`python -m reference`: what is printed, and one line for what is wrong."""

from pathlib import Path

import pytest

from reference.__main__ import main
from reference.bundle import EMBEDDED, Bundle

STORY = "Once upon a time"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, prompt: str = STORY) -> str:
    """What a command that succeeds prints."""
    assert main([prompt, *arguments]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([STORY, *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    return said.err


def test_a_completion(capsys: pytest.CaptureFixture[str]) -> None:
    greedy = run(capsys, "--temperature", "0", "--max-tokens", "3")
    assert greedy.endswith("\nchoice 0: length\n") and len(greedy.splitlines()) == 2
    echoed = run(capsys, "--temperature", "0", "--max-tokens", "3", "--echo")
    assert echoed == STORY + greedy


def test_every_choice_is_whole_and_has_its_own_rows(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "0", "--max-tokens", "2", "--echo", "--logprobs", "1"]
    one = run(capsys, *options)
    assert one.count(STORY) == 1 and one.count("choice 0: length\n") == 1
    assert one.count("log-probability") == 1 and one.count("'<s>'") == 1
    both = run(capsys, *options, "--n", "2")
    assert both == one + one.replace("choice 0", "choice 1")


def test_stops(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "0", "--max-tokens", "8"]
    first = run(capsys, *options, "--max-tokens", "1").splitlines()[0]
    stop = str(model.tokenizer.encode(STORY + first)[-1])
    for stops in ["--stop-token-ids", "5", stop], ["--stop", "never", first]:
        assert run(capsys, *options, *stops) == "\nchoice 0: stop\n"
    assert "stop: 17 items" in refused(capsys, "--stop", *"abcdefghijklmnopq")
    assert "stop_token_ids: -1" in refused(capsys, "--stop-token-ids", "-1")


def test_a_token_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--max-tokens", "2", "--seed", "1", "--temperature", "0.7", "--top-k", "3"]
    plain, told = run(capsys, *options), run(capsys, *options, "--explain")
    assert told.endswith(plain)
    for word in "token 0", "token 1", "model", "temperature", "top_k", "tokens left":
        assert word in told


def test_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--max-tokens", "1", "--explain", "--svg", str(tmp_path / "x.svg"))
    assert "tokens&#160;left" in (tmp_path / "x.svg").read_text()
    missing = tmp_path / "no" / "x.svg"
    assert str(missing) in refused(capsys, "--max-tokens", "1", "--svg", str(missing))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *((["--n", "5"], "n: 5"), (["--temperature", "3"], "temperature: 3")),
        *((["--seed", str(2**64)], "seed: "), (["--model", "/nowhere"], "/nowhere")),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(capsys, *arguments)


def test_a_long_prompt(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a " * model.context, "--model", str(EMBEDDED / "text")]) == 2
    assert "no room is left" in capsys.readouterr().err


def test_a_format_is_kept_to_and_what_is_none_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    colour = run(capsys, "--response-format", '{"type": "regex", "regex": "red|blue"}')
    assert colour in ("red\nchoice 0: stop\n", "blue\nchoice 0: stop\n")
    assert "type 'x'" in refused(capsys, "--response-format", '{"type": "x"}')
    for text in "[1]", "{":
        with pytest.raises(SystemExit):
            main([STORY, "--response-format", text])
        assert "--response-format" in capsys.readouterr().err
