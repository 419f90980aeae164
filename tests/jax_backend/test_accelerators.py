"""An accelerator that is present but not used, or requested but missing, is an error that says what
to install.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_backend import accelerators
from jax_backend.accelerators import check_used, matches, present, required, use_platform

TPU_VENDOR, INTEL = "0x1ae0", "0x8086"
ACCELERATOR, UNASSIGNED, NETWORK, DISK = "0x120000", "0xff0000", "0x020000", "0x010802"


def machine(root: Path, files: list[str], pci: list[tuple[str, str]] = ()) -> Path:  # type: ignore[assignment]
    """Create the device files and the PCI devices, as (vendor, class), of a machine."""
    for name in files:
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()
    for i, (vendor, kind) in enumerate(pci):
        folder = root / f"sys/bus/pci/devices/0000:00:0{i}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    return root


@pytest.mark.parametrize(
    ("files", "pci", "devices"),
    [
        ([], [], {}),
        (["nvidia0", "nvidia1", "nvidiactl"], [], {"gpu": "/dev/nvidia0"}),
        (["nvidiactl", "nvidia-uvm", "nvidia-modeset"], [], {}),
        (["accel0", "accel1"], [], {"tpu": "/dev/accel0"}),
        (["accel/accel0"], [], {}),  # of Linux's accel subsystem: an NPU, for example
        (["vfio/vfio", "vfio/7"], [(TPU_VENDOR, ACCELERATOR)], {"tpu": "/dev/vfio/7"}),
        (["vfio/vfio", "vfio/0"], [(TPU_VENDOR, UNASSIGNED)], {"tpu": "/dev/vfio/0"}),
        (["vfio/0"], [(TPU_VENDOR, NETWORK), (TPU_VENDOR, DISK)], {}),
        (["vfio/0"], [(INTEL, ACCELERATOR)], {}),
        (["vfio/vfio"], [(TPU_VENDOR, ACCELERATOR)], {}),  # a container without the device
        (["nvidia3", "accel2"], [], {"gpu": "/dev/nvidia3", "tpu": "/dev/accel2"}),
    ],
)
def test_present_accelerators(
    files: list[str],
    pci: list[tuple[str, str]],
    devices: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert present(machine(tmp_path, files, pci)) == devices


@pytest.mark.parametrize("value", ["", "-1", "none", "NoDevFiles"])
def test_hidden_gpus_are_not_present(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, ["nvidia0", "accel0"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert present(root) == {"tpu": "/dev/accel0"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert "gpu" in present(root)


GPU, TPU = {"gpu": "/dev/nvidia0"}, {"tpu": "/dev/vfio/0"}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The plugins that are installed, by name. Empty; tests add some."""
    versions: dict[str, str] = {}
    monkeypatch.setattr(
        accelerators, "installed", lambda names: {n: versions[n] for n in names if n in versions}
    )
    return versions


@pytest.mark.parametrize(
    ("devices", "device", "extra"), [(GPU, "/dev/nvidia0", "cuda13"), (TPU, "/dev/vfio/0", "tpu")]
)
def test_unused_accelerator_is_an_error(
    devices: dict[str, str], device: str, extra: str, plugins: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="^platform: this machine has") as error:
        check_used("cpu", None, devices)
    text = str(error.value)
    assert device in text and "not installed" in text and "--platform cpu" in text
    assert f"pip install 'completions-spec[{extra}]'" in text
    check_used("cpu", "cpu", devices)  # an explicit choice
    check_used("cpu", None, {})
    check_used(next(iter(devices)), None, devices)
    check_used("gpu", None, GPU | TPU)  # one of two


def test_plugin_for_another_jax_is_named(plugins: dict[str, str]) -> None:
    plugins["jax-cuda13-plugin"] = "0.4.1"
    with pytest.raises(ValueError, match="jax-cuda13-plugin is 0.4.1, and jax .* needs") as error:
        check_used("cpu", None, GPU)
    assert "completions-spec[cuda13]" in str(error.value)


def test_plugin_that_fails_is_not_installed_again(plugins: dict[str, str]) -> None:
    plugins["libtpu"] = (required("libtpu", jax_requirements()) or "").replace("*", "1")
    with pytest.raises(ValueError, match="JAX: (Backend 'tpu' failed|Unknown backend)") as error:
        check_used("cpu", None, TPU)
    assert "pip install" not in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "plugin", "devices", "why"),
    [
        ("gpu", None, GPU, "not installed: pip install 'completions-spec.cuda13.'"),
        ("tpu", None, {}, "not installed: pip install 'completions-spec.tpu.'"),
        ("gpu", "jax-cuda12-plugin", {}, "has none"),
        ("tpu", "libtpu", TPU, "already uses the CPU"),
    ],
)
def test_missing_accelerator_is_an_error(
    wanted: str, plugin: str | None, devices: dict[str, str], why: str, plugins: dict[str, str]
) -> None:
    if plugin:
        plugins[plugin] = (required(plugin, jax_requirements()) or "").replace("*", "1")
    with pytest.raises(ValueError, match=f"^platform: JAX cannot use .*{why}"):
        check_used("cpu", wanted, devices)


def jax_requirements() -> list[str]:
    return accelerators.metadata.requires("jax") or []


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_refused_request_changes_nothing(name: str, plugins: dict[str, str]) -> None:
    """This process has initialized JAX on the CPU."""
    before = jax.config.jax_platforms
    with pytest.raises(ValueError, match="^platform: JAX cannot use"):
        use_platform(name)
    assert jax.config.jax_platforms == before and jax.default_backend() == "cpu"


def test_unknown_platform_is_refused() -> None:
    with pytest.raises(ValueError, match="^platform: must be one of .*'abacus'"):
        use_platform("abacus")


def test_cpu_is_used_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "first_platform", lambda names: None)  # as JAX_PLATFORMS
    monkeypatch.setattr(accelerators, "present", dict)
    assert use_platform() == "cpu"
    monkeypatch.setattr(accelerators, "present", lambda: GPU)
    with pytest.raises(ValueError, match="^platform: this machine has an NVIDIA GPU"):
        use_platform()
    before = jax.config.jax_platforms
    assert use_platform("cpu") == "cpu"
    jax.config.update("jax_platforms", before)


def test_other_libtpu_is_a_warning(
    plugins: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may work, but is not the one that JAX was tested with."""
    plugins["libtpu"] = "0.0.1"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(accelerators, "first_platform", lambda names: None)  # as JAX_PLATFORMS
    with caplog.at_level(logging.WARNING):
        assert use_platform() == "tpu"
    assert "libtpu is 0.0.1, and jax" in caplog.text


@pytest.mark.parametrize(
    ("actual", "wanted", "is_match"),
    [
        ("0.0.42.1", "0.0.42.*", True),
        ("0.0.42", "0.0.42.*", True),
        ("0.0.421.1", "0.0.42.*", False),
        ("0.10.2", "0.10.2", True),
        ("0.10.20", "0.10.2", False),
        ("1", None, True),
    ],
)
def test_versions_match(actual: str, wanted: str | None, is_match: bool) -> None:
    assert matches(actual, wanted) is is_match


@given(st.from_regex(r"\d{1,3}(\.\d{1,3}){1,3}", fullmatch=True))
def test_version_is_read_from_requirements(version: str) -> None:
    """The names of other distributions begin with the same letters."""
    lines = [
        "libtpu-nightly==9.9",
        f'libtpu=={version}.*; extra == "tpu"',
        f'jax-cuda13-plugin[with-cuda]<={version},>={version}; extra == "cuda13"',
    ]
    assert required("libtpu", lines) == f"{version}.*"
    assert required("jax-cuda13-plugin", lines) == version
    assert required("jax-cuda12-plugin", lines) is None


def test_installed_jax_requires_its_plugins() -> None:
    for plugin in ("libtpu", "jax-cuda13-plugin", "jax-cuda12-plugin"):
        assert required(plugin, jax_requirements())


@pytest.mark.lane
@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--platform", "gpu"], {}), ([], {"JAX_PLATFORMS": "cuda"}), ([], {"JAX_PLATFORMS": "tpu"})],
)
def test_server_does_not_start_without_its_accelerator(
    arguments: list[str], variables: dict[str, str]
) -> None:
    if present():
        pytest.skip("this machine has an accelerator")
    result = subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=300,
    )
    assert result.returncode == 2 and result.stderr.startswith("error: platform: JAX cannot use")
    assert "pip install" in result.stderr
