"""The accelerators of this machine: JAX uses one that is present, and has one that is requested.

If the plugin of an accelerator is missing, JAX runs on the CPU, with at most a warning in a log.
"""

import logging
import os
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import jax

logger = logging.getLogger(__name__)

PLATFORMS = ("cpu", "gpu", "tpu")
NAMES = {"cpu": "the CPU", "gpu": "an NVIDIA GPU", "tpu": "a TPU"}
EXTRAS = {"cpu": "cpu", "gpu": "cuda13", "tpu": "tpu"}
# Distributions with the plugin of a platform.
PLUGINS = {
    "gpu": ("jax-cuda13-plugin", "jax-cuda12-plugin", "jax-rocm7-plugin"),
    "tpu": ("libtpu",),
}
JAX_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}  # the first is the default
ALIASES = {"cuda": "gpu", "rocm": "gpu"}
GOOGLE = "0x1ae0"  # PCI vendor
TPU_CLASSES = ("0x12", "0xff")  # PCI: processing accelerators, unassigned. Not network or storage
NO_DEVICES = ("", "-1", "none", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that hide every GPU


def use_platform(requested: str | None = None) -> str:
    """Initialize JAX and return the platform that it uses: cpu, gpu or tpu.

    requested: the platform to use. None for the first in JAX_PLATFORMS; if that is not set, for the
    accelerator of this machine, and without one for the CPU.

    Raises ValueError, with what to install, if JAX cannot use the requested platform, or if it does
    not use an accelerator that is present and neither is set.
    """
    if requested not in (None, *PLATFORMS):
        raise ValueError(f"platform: must be one of {PLATFORMS}, got {requested!r}")
    before = jax.config.jax_platforms
    if requested is not None:
        jax.config.update("jax_platforms", jax_platforms(requested))
    try:
        used = ALIASES.get(jax.default_backend(), jax.default_backend())
        check_used(used, requested or first_platform(before), present())
    except (RuntimeError, AssertionError) as error:  # of JAX, which asserts that it has a platform
        jax.config.update("jax_platforms", before)
        platform = requested or first_platform(before) or "cpu"
        raise ValueError(missing(platform, f"JAX: {first_line(error)}", present())) from error
    except ValueError:
        jax.config.update("jax_platforms", before)
        raise
    for warning in wrong_versions(used):
        logger.warning(warning)
    return used


def jax_platforms(requested: str) -> str:
    """Return JAX's name of a platform, and the CPU."""
    has_rocm = any("rocm" in name for name in installed(PLUGINS["gpu"]))
    return "rocm,cpu" if requested == "gpu" and has_rocm else JAX_PLATFORMS[requested]


def first_platform(names: str | None) -> str | None:
    """Return the first of JAX's names of platforms, None without any."""
    first = (names or "").partition(",")[0]
    return ALIASES.get(first, first) or None


def check_used(used: str, wanted: str | None, devices: dict[str, str]) -> None:
    """Raise ValueError if JAX does not use the wanted platform, or the CPU of a machine with an
    accelerator and no platform is wanted. devices: of `present`.
    """
    if wanted in PLATFORMS and used != wanted:
        raise ValueError(missing(wanted, f"this process already uses {NAMES[used]}", devices))
    if wanted is None and used == "cpu" and devices:
        platform, device = next(iter(devices.items()))
        raise ValueError(
            f"platform: this machine has {NAMES[platform]} ({device}), which JAX does not use: "
            f"{remedy(platform, unused(platform))}; to use the CPU: --platform cpu"
        )


def present(root: Path = Path("/")) -> dict[str, str]:
    """Return the accelerators of this machine, by platform: the device file of each. root: of `dev`
    and `sys`.

    A TPU has a device of its own driver, or one of VFIO, which any PCI device can have: then its
    vendor and class decide. GPUs that CUDA_VISIBLE_DEVICES hides are not present.
    """
    devices = {}
    gpus = device_files(root, "dev/nvidia")
    if gpus and os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() not in NO_DEVICES:
        devices["gpu"] = gpus[0]
    tpus = device_files(root, "dev/accel")
    if not tpus and has_tpu_on_pci(root):
        tpus = device_files(root, "dev/vfio/")
    if tpus:
        devices["tpu"] = tpus[0]
    return devices


def device_files(root: Path, prefix: str) -> list[str]:
    """Return the files that are named by a prefix and a number."""
    paths = (f"/{path.relative_to(root)}" for path in root.glob(f"{prefix}[0-9]*"))
    return sorted(path for path in paths if re.fullmatch(rf"/{prefix}\d+", path))


def has_tpu_on_pci(root: Path) -> bool:
    """Return whether a PCI device is a TPU. Google's network cards and disks have its vendor."""
    return any(
        read(vendor) == GOOGLE and read(vendor.with_name("class")).startswith(TPU_CLASSES)
        for vendor in root.glob("sys/bus/pci/devices/*/vendor")
    )


def read(path: Path) -> str:
    """Return the text of a file, "" if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def missing(platform: str, why: str, devices: dict[str, str]) -> str:
    """Return the error for a platform that JAX cannot use. why: unless its plugin or its device is
    missing.
    """
    plugins = PLUGINS.get(platform, ())
    if plugins and not installed(plugins):
        why = "its plugin is not installed"
    elif plugins and platform not in devices:
        why = "this machine has none, or its driver is missing, or a container hides it"
    name = NAMES.get(platform, platform)
    return f"platform: JAX cannot use {name}: {remedy(platform, why)}"


def unused(platform: str) -> str:
    """Return why JAX does not use an accelerator that is present."""
    if not installed(PLUGINS[platform]):
        return "its plugin is not installed"
    try:
        jax.devices(platform)
    except RuntimeError as error:
        return f"JAX: {first_line(error)}"
    return "another platform has precedence"


def remedy(platform: str, why: str) -> str:
    """Append to a reason what to install: the plugin, or another version."""
    plugins = PLUGINS.get(platform, ())
    wrong = wrong_versions(platform)
    if plugins and (wrong or not installed(plugins)):
        return f"{'; '.join([why, *wrong])}: pip install 'completions-spec[{EXTRAS[platform]}]'"
    return why


def installed(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions that are installed."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def wrong_versions(platform: str) -> list[str]:
    """Return which plugins of a platform are not for the installed JAX. Each is for one version."""
    requirements = metadata.requires("jax") or ()
    wanted = {name: required(name, requirements) for name in PLUGINS.get(platform, ())}
    return [
        f"{name} is {actual}, and jax {jax.__version__} needs {wanted[name]}"
        for name, actual in installed(wanted).items()
        if not matches(actual, wanted[name])
    ]


def required(plugin: str, requirements: Iterable[str]) -> str | None:
    """Return the version of a plugin in JAX's requirements, such as "0.0.42.*", or None."""
    pattern = re.compile(rf"{plugin}(?:\[.*?\])?\s*[=<>]=([\w.*]+)")
    versions = (match[1] for line in requirements if (match := pattern.match(line)))
    return next(versions, None)


def matches(actual: str, wanted: str | None) -> bool:
    """Return whether a version is the wanted one, which may end in ".*". None: any."""
    if wanted is None:
        return True
    return (actual + ".").startswith(wanted[:-1]) if wanted.endswith(".*") else actual == wanted


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
