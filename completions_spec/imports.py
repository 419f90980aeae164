"""The import path of the project's own packages, which have common names."""

import sys
from pathlib import Path
from types import ModuleType

PACKAGES = ("reference", "jax_backend", "api", "explain", "conformance", "benchmarks")
HERE = Path(__file__).resolve().parent


class ForeignPackage(ImportError):
    """A package of another distribution has been imported under a name of this project."""


def packages_root() -> Path:
    """Return the folder of the packages: `packages/` in a wheel, the repository in a clone."""
    installed = HERE / "packages"
    return installed if installed.is_dir() else HERE.parent


def put_packages_first(root: Path | None = None) -> None:
    """Put the folder of the packages first on the import path of this process.

    root: by default that of this copy. Raises ForeignPackage if one of the names was imported from
    elsewhere before, for example by a `.pth` file: then the name denotes the other package.
    """
    root = root or packages_root()
    for name in PACKAGES:
        if name in sys.modules and location(sys.modules[name]) != root / name:
            raise ForeignPackage(
                f"the package {name!r} is already imported from {location(sys.modules[name])}: "
                "install completions-spec in an environment of its own"
            )
    sys.path.insert(0, str(root))


def location(module: ModuleType) -> Path | None:
    """Return the folder of a package; None if it has none."""
    folder = next(iter(getattr(module, "__path__", ())), None)
    return Path(folder).resolve() if folder else None
