"""A Ray Serve application: replicas of the server, without a socket of its own.

    serve run config.yaml

Each replica loads the models and handles the same paths as `completions-spec serve`. The options of
the server are those of its configuration file.
"""

import argparse
from contextlib import ExitStack
from typing import Any

from ray import serve

from completions_spec.imports import put_packages_first

put_packages_first()

from api.__main__ import build_app, load_models  # noqa: E402
from api.backends.loading import BACKENDS  # noqa: E402
from api.observability.logs import configure_logs  # noqa: E402
from api.options.arguments import api_keys, build_parser  # noqa: E402
from api.options.config import parse_values  # noqa: E402


@serve.ingress()
class Completions:
    """One replica. options: of the server, by name."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = parse(options)
        configure_logs(self.options.log_level, self.options.log_format)
        self._stack = ExitStack()
        self._models = load_models(self.options, self._stack)

    def __serve_build_asgi_app__(self) -> Any:
        return build_app(self.options, self._models, api_keys(self.options))

    def check_health(self) -> None:
        """Raise RuntimeError if an engine has failed or hangs: then Ray replaces the replica."""
        for model in self._models:
            stats = model.engine.stats()
            if not stats.healthy:
                raise RuntimeError(f"the engine of {model.name} is down")
            if stats.stalled_seconds > self.options.watchdog_timeout:
                raise RuntimeError(f"the engine of {model.name} hangs")

    def __del__(self) -> None:
        self._stack.close()


def parse(options: dict[str, Any]) -> argparse.Namespace:
    """Return the options of a server. Raises ValueError for one that is wrong or has no meaning
    behind Ray's proxy.
    """
    for name in (
        "host",
        "port",
        "ssl-certfile",
        "ssl-keyfile",
        "drain-timeout",
        "hosts",
        "explain",
    ):
        if name in options:
            raise ValueError(f"{name}: is an option of Ray Serve, and not of a replica")
    result = parse_values(build_parser(BACKENDS), options)
    if not (result.api_key or result.allow_open):
        raise ValueError(
            "a replica does not know who reaches Ray's proxy: set api-key or allow-open"
        )
    return result


def build(arguments: dict[str, Any]) -> serve.Application:
    """Return the application. arguments: `options`, of the server."""
    options = dict(arguments.get("options", {}))
    parse(options)
    return serve.deployment(Completions).bind(options)
