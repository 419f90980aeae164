"""Rotary position embedding in config.json; `llama.rope_frequencies` computes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.model.config_fields import ConfigError, as_positive, as_size

# The parameters of each kind of RoPE, in addition to theta.
ROPE_KINDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
_ONE_OF_KINDS = f"one of {', '.join(ROPE_KINDS)}"


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """The base of the RoPE wavelengths, and their scaling for a longer context.

    `llama.rope_frequencies` defines each kind. Raises ConfigError for an unknown kind, for a
    parameter that is missing or does not belong to the kind, and for a value out of range.
    """

    kind: str = "default"
    theta: float = 10_000.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ROPE_KINDS:
            raise ConfigError(f"rope_type: must be {_ONE_OF_KINDS}, got {self.kind!r}")
        as_positive("rope_theta", self.theta)
        for name in ROPE_KINDS["llama3"]:
            value, needed = getattr(self, name), name in ROPE_KINDS[self.kind]
            if needed and value is None:
                raise ConfigError(f"{name}: required for rope_type {self.kind!r}, but missing")
            if not needed and value is not None:
                raise ConfigError(f"{name}: not a parameter of rope_type {self.kind!r}")
            if needed:
                as_positive(name, value)
        low, high = self.low_freq_factor, self.high_freq_factor
        if low is not None and high is not None and low >= high:
            raise ConfigError(f"high_freq_factor: must be above low_freq_factor {low}, got {high}")

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "RopeConfig":
        """Read either form: `rope_theta` with `rope_scaling`, or `rope_parameters`."""
        fields = _rope_fields(json)
        kind = fields.pop("rope_type", "default")
        if kind not in list(ROPE_KINDS):
            raise ConfigError(f"rope_type: must be {_ONE_OF_KINDS}, got {kind!r}")
        for name in ("partial_rotary_factor", "attention_factor"):
            if (value := fields.pop(name, 1)) != 1:
                raise ConfigError(f"{name}: must be 1, got {value!r}")
        if kind == "default" and fields.get("factor") == 1:
            del fields["factor"]
        length = fields.pop("original_max_position_embeddings", None)
        for name in fields.keys() - {"rope_theta", *ROPE_KINDS["llama3"]}:
            raise ConfigError(f"{name}: not a supported RoPE parameter")
        if kind != "llama3":
            length = None  # other kinds may store it too, but their formulas do not use it
        elif length is not None:
            length = as_size("original_max_position_embeddings", length)
        numbers = {name: as_positive(name, value) for name, value in fields.items()}
        theta = numbers.pop("rope_theta", cls.theta)
        return cls(kind=kind, theta=theta, original_max_position_embeddings=length, **numbers)


def _rope_fields(json: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the RoPE parameters from all objects. Raises ConfigError if two of them differ."""
    top_level = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
    fields = {name: json[name] for name in top_level if json.get(name) is not None}
    for parent in ("rope_parameters", "rope_scaling"):
        values = json.get(parent)
        if not isinstance(values, dict | None):
            raise ConfigError(f"{parent}: must be an object, got {values!r}")
        for name, value in (values or {}).items():
            key = "rope_type" if name == "type" else name
            if value is not None and fields.setdefault(key, value) != value:
                raise ConfigError(f"{parent}.{name}: {value!r} contradicts {fields[key]!r}")
    return fields
