"""`python -m reference`: its output, and one line per error."""

from pathlib import Path

import pytest

from reference import threefry
from reference.__main__ import main
from reference.bundle import EMBEDDED, Bundle

STORY = "Once upon a time"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, prompt: str = STORY) -> str:
    """Run a command that succeeds, and return its output."""
    assert main([prompt, *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def run_to_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails, and return its error message."""
    assert main([STORY, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    greedy = run(capsys, "--temperature", "0", "--max-tokens", "3")
    assert greedy.endswith("\nchoice 0: length\n") and len(greedy.splitlines()) == 2
    echoed = run(capsys, "--temperature", "0", "--max-tokens", "3", "--echo")
    assert echoed == STORY + greedy


def test_choices_are_printed_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "0", "--max-tokens", "2", "--echo", "--logprobs", "1"]
    first = run(capsys, *options)
    assert first.count(STORY) == 1 and first.count("choice 0: length\n") == 1
    assert first.count("log-probability") == 1 and first.count("'<s>'") == 1
    both = run(capsys, *options, "--n", "2")
    assert both == first + first.replace("choice 0", "choice 1")


def test_stops(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--temperature", "0", "--max-tokens", "8"]
    first = run(capsys, *options, "--max-tokens", "1").splitlines()[0]
    stop = str(model.tokenizer.encode(STORY + first)[-1])
    for stops in ["--stop-token-ids", "5", stop], ["--stop", "never", first]:
        assert run(capsys, *options, *stops) == "\nchoice 0: stop\n"
    assert "stop: must have at most 16 items, got 17" in run_to_error(
        capsys, "--stop", *"abcdefghijklmnopq"
    )
    assert "stop_token_ids: must be ≥ 0, got -1" in run_to_error(capsys, "--stop-token-ids", "-1")


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--max-tokens", "2", "--seed", "1", "--temperature", "0.7", "--top-k", "3"]
    plain, explained = run(capsys, *options), run(capsys, *options, "--explain")
    assert explained.endswith(plain)
    for word in "token 0", "token 1", "model", "temperature", "top_k", "tokens left", "allowed":
        assert word in explained
    assert "response_format" not in explained


def table_rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of the rows of the first table with this title."""
    lines = text[text.index(title) :].splitlines()[1:]
    end = next(i for i, line in enumerate(lines) if line.startswith("└"))
    return [[c.strip() for c in line.strip("│").split("│")] for line in lines[:end] if "│" in line]


def test_explain_shows_tokens_that_penalties_raise(capsys: pytest.CaptureFixture[str]) -> None:
    """Each column sums to 1 over the rows and the row of all others."""
    options = ["--frequency-penalty", "-2", "--repetition-penalty", "0.05", "--temperature", "2"]
    text = run(capsys, *options, "--seed", "3", "--max-tokens", "3", "--explain")
    *rows, others, _ = table_rows(text, "token 0")
    assert others[1] == "others"
    for column in range(2, len(others)):
        cells = [row[column] for row in [*rows, others]]
        assert sum(float(c) for c in cells if c != "·") == pytest.approx(1, abs=2e-3)
    assert max(float(row[-1]) for row in rows if row[-1] != "·") > 0.01


def test_explain_shows_the_draw(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """The noise is that of the seed, logit + noise is the score, and the best score wins."""
    text = run(capsys, "--seed", "7", "--max-tokens", "2", "--explain")
    for position in range(2):
        part = text[text.index(f"token {position}") :]
        noise = threefry.noise(7, 0, position, model.vocab_size)
        rows = table_rows(part, "draw:")
        scores = [float(row[3]) for row in rows]
        assert scores == sorted(scores, reverse=True) and len(rows) == 4
        for token, logit, drawn, score, _ in rows:
            assert float(drawn) == pytest.approx(noise[int(token)], abs=1e-4)
            assert float(logit) + float(drawn) == pytest.approx(float(score), abs=2e-4)
        assert ascii(model.tokenizer.token_bytes(int(rows[0][0])).decode()) == rows[0][4]


def test_explain_of_every_step_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    options = ["--frequency-penalty", "1", "--presence-penalty", "1", "--repetition-penalty", "1.2"]
    options += ["--temperature", "1.5", "--min-p", "0.01", "--top-k", "9", "--top-p", "0.9"]
    options += ["--response-format", '{"type": "regex", "regex": "[a-z ]+"}']
    text = run(capsys, *options, "--seed", "3", "--max-tokens", "4", "--explain")
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text and "others" in text
    for line in "repe-", "penal-", "sponse", "tempe-", "top_p":
        assert line in text


def test_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--max-tokens", "1", "--explain", "--svg", str(tmp_path / "x.svg"))
    assert "tokens&#160;left" in (tmp_path / "x.svg").read_text()
    missing = tmp_path / "no" / "x.svg"
    assert str(missing) in run_to_error(capsys, "--max-tokens", "1", "--svg", str(missing))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "5"], "n: must be ≤ 4, got 5"),
        (["--temperature", "3"], "temperature: must be ≤ 2, got 3"),
        (["--seed", str(2**64)], "seed: "),
        (["--model", "/nowhere"], "/nowhere"),
    ],
)
def test_error_names_the_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in run_to_error(capsys, *arguments)


def test_long_prompt(model: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a " * model.context, "--model", str(EMBEDDED / "text")]) == 2
    assert "no room for output" in capsys.readouterr().err


def test_response_format(capsys: pytest.CaptureFixture[str]) -> None:
    color = run(capsys, "--response-format", '{"type": "regex", "regex": "red|blue"}')
    assert color in ("red\nchoice 0: stop\n", "blue\nchoice 0: stop\n")
    assert "type 'x'" in run_to_error(capsys, "--response-format", '{"type": "x"}')
    for text in "[1]", "{":
        with pytest.raises(SystemExit):
            main([STORY, "--response-format", text])
        assert "--response-format" in capsys.readouterr().err
