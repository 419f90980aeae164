"""The command `completions-spec`: its subcommands, what they import, and one line per error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from completions_spec.commands import COMMANDS, main
from completions_spec.imports import PACKAGES, packages_root

ROOT = Path(__file__).parents[2]
HEAVY = "{'jax', 'numpy', 'starlette', 'pydantic', 'httpx', 'PIL', 'hypothesis'}"


def python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose import path begins with some folders."""
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "100"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)


def run(arguments: list[str], before: str = "", *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line. before: code that runs first."""
    code = f"{before}\nimport sys\nfrom completions_spec.commands import main\n"
    return python(f"{code}sys.exit(main({arguments!r}))", *folders)


def foreign(directory: Path, name: str = "api") -> Path:
    """Write a package of another distribution, and return its folder."""
    (directory / name).mkdir()
    (directory / name / "__init__.py").write_text("NAME = 'foreign'\n")
    return directory


def test_help_and_version_import_only_the_standard_library() -> None:
    for option in "--help", "--version":
        code = f"""
import sys
from completions_spec.commands import main
try:
    main([{option!r}])
except SystemExit as end:
    print("status", end.code, {HEAVY} & set(sys.modules))
"""
        result = python(code)
        assert "status 0 set()" in result.stdout, result.stderr
        if option == "--help":
            assert all(name in result.stdout for name in COMMANDS)


def test_server_help_does_not_import_jax() -> None:
    after = "import atexit, sys; atexit.register(lambda: print('jax' in sys.modules))"
    result = run(["serve", "--help"], after)
    assert result.returncode == 0 and result.stdout.endswith("False\n"), result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_the_name_of_the_command(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: completions-spec {name} ")


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["--unknown"], ["serve", "--port", "x"]])
def test_invalid_arguments_exit_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and "usage: completions-spec" in capsys.readouterr().err


def test_arguments_reach_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert main(["explain", "Once upon", "--max-tokens", "1", "--temperature", "0.5"]) == 0
    assert "temperature" in capsys.readouterr().out  # the table of the sampling steps
    assert main(["conformance", "list", "--only", "top_p/range"]) == 0
    assert "top_p/range" in capsys.readouterr().out
    assert main(["bench", "a=http://127.0.0.1:9/v1", "--rounds", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: a: ConnectError")


def test_missing_dependency_is_named() -> None:
    for package, command, extra in (
        ("starlette", ["serve"], "[cpu]"),
        ("httpx", ["conformance", "list"], "[conformance]"),
    ):
        result = run(command, f"import sys; sys.modules[{package!r}] = None")
        assert result.returncode == 2
        assert result.stderr.startswith(f"error: {package}")
        assert result.stderr.endswith(f"pip install 'completions-spec{extra}'\n")


@pytest.mark.lane
@pytest.mark.parametrize("name", PACKAGES)
def test_own_package_precedes_a_foreign_one(tmp_path: Path, name: str) -> None:
    before = f"""
import atexit, sys
atexit.register(lambda: print([m.__path__[0] for n, m in sys.modules.items() if n == {name!r}]))
"""
    result = run(["conformance", "list", "--only", "top_p/range"], before, foreign(tmp_path, name))
    assert result.returncode == 0, result.stderr
    assert str(tmp_path) not in result.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_imported_foreign_package_is_refused(tmp_path: Path, name: str) -> None:
    folder = foreign(tmp_path, name)
    before = f"import sys; sys.path.insert(0, {str(folder)!r}); import {name}; assert {name}.NAME"
    result = run(["serve", "--help"], before)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: the package {name!r} is already imported from ")
    assert str(folder / name) in result.stderr


def test_packages_of_the_repository() -> None:
    assert packages_root() == ROOT
    assert all((ROOT / name).is_dir() for name in PACKAGES)


def test_text_model_needs_no_pillow() -> None:
    code = """
import sys
sys.modules["PIL"] = None
import api.app, api.__main__, reference.__main__
from reference.bundle import EMBEDDED, load_processor
assert load_processor(EMBEDDED / "text").image_processor is None
try:
    load_processor(EMBEDDED / "vision")
except ValueError as error:
    print(error)
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert "images need Pillow" in result.stdout and "'images'" in result.stdout
