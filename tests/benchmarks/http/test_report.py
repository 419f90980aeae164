"""The JSON file and the Markdown table."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.http.report import BEGIN, END, load, main, replace, save, table

Json = dict[str, Any]


def row(server: str, number: int, rate: float, ttft: float, **fields: Any) -> Json:
    latencies = {"ttft_p50": ttft, "ttft_p99": 2 * ttft, "itl_p50": 0.01, "itl_p99": 0.02}
    return {
        "workload": "burst",
        "server": server,
        "round": number,
        "tokens_per_second": rate,
        "completed": 31,
        "sent": 32,
        "latencies": {"all requests": latencies},
    } | fields


ROWS = [
    row("a", 0, 100, 1.0),
    row("b", 0, 50, 2.0),
    row("a", 1, 120, 1.0),
    row("b", 1, 40, 1.0),
    row("a", 2, 90, 4.0),
    row("b", 2, 90, 1.0),
]


def document(rows: list[Json]) -> Json:
    return {"servers": {"a": "http://a", "b": "http://b"}, "rows": rows}


def test_table_has_medians_and_ratios_of_rounds() -> None:
    _, _, first, second = table(document(ROWS)).splitlines()
    assert first == ("| burst | a | 100.0 |  | 1.00 |  | 2.00 |  | 10, 20 | 93 of 96 |")
    # 100 / 50, 120 / 40 and 90 / 90; 1 / 2, 1 / 1 and 4 / 1
    assert second == (
        "|  | b | 50.0 | 2.00 (1.00–3.00) | 1.00 | 1.00 (0.50–4.00) | 2.00 | 1.00 (0.50–4.00) "
        "| 10, 20 | 93 of 96 |"
    )


def test_groups_have_their_own_lines() -> None:
    latencies = ROWS[0]["latencies"]["all requests"]
    groups = {"turn 1": latencies, "turn 2": latencies | {"ttft_p50": 9.0, "itl_p50": None}}
    lines = table(document([row("a", 0, 100, 1.0, latencies=groups)])).splitlines()
    assert lines[2].startswith("| burst: turn 1 | a | 100.0 |")
    assert lines[4] == "| burst: turn 2 | a |  |  | 9.00 |  | 2.00 |  | –, 20 |  |"


def test_server_without_completed_requests() -> None:
    failed = row("b", 0, 0.0, 0.0, latencies={}, completed=0)
    *_, line = table(document([row("a", 0, 100, 1.0), failed])).splitlines()
    assert line == "|  | b | 0.0 | – | – | – | – | – | –, – | 0 of 32 |"


def test_file_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "rows.json", tmp_path / "page.md"
    save(path, {"a": "http://a", "b": "http://b"}, {"seed": 0}, ROWS)
    assert load(path)["options"] == {"seed": 0}
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == table(document(ROWS))
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        assert main([str(path), "--into", str(page)]) == 0
    assert page.read_text() == f"before\n{BEGIN}\n\n{table(document(ROWS))}\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END} {BEGIN}"])
def test_page_without_comments_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page must have"):
        replace(page, "table")
