"""What a config.json says of rotary position embedding; `llama.rope_frequencies` computes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.model.config_fields import ConfigError, as_positive, as_size

# The parameters of each kind of rope, besides theta.
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


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary position embedding: the base of its wavelengths, and how a longer context stretches
    them. `llama.rope_frequencies` says what each kind means.

    Raises ConfigError for an unknown kind, for a parameter that its kind lacks or does not have,
    and for a value out of range.
    """

    kind: str = "default"
    theta: float = 10_000.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ROPE_KINDS:
            raise ConfigError(f"rope_type: {self.kind!r} is not one of {', '.join(ROPE_KINDS)}")
        as_positive("rope_theta", self.theta)
        for name in ROPE_KINDS["llama3"]:
            value, needed = getattr(self, name), name in ROPE_KINDS[self.kind]
            if needed and value is None:
                raise ConfigError(f"{name}: missing, and rope_type {self.kind!r} needs it")
            if not needed and value is not None:
                raise ConfigError(f"{name}: has no meaning for rope_type {self.kind!r}")
            if needed:
                as_positive(name, value)
        low, high = self.low_freq_factor, self.high_freq_factor
        if low is not None and high is not None and low >= high:
            raise ConfigError(f"high_freq_factor: {high} is not above low_freq_factor, {low}")

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "Rope":
        """Read both spellings: `rope_theta` beside `rope_scaling`, and `rope_parameters`."""
        fields = _rope_fields(json)
        kind = fields.pop("rope_type", "default")
        if kind not in list(ROPE_KINDS):
            raise ConfigError(f"rope_type: {kind!r} is not one of {', '.join(ROPE_KINDS)}")
        for name in ("partial_rotary_factor", "attention_factor"):
            if fields.pop(name, 1) != 1:
                raise ConfigError(f"{name}: only 1 is supported")
        if kind == "default" and fields.get("factor") == 1:
            del fields["factor"]
        length = fields.pop("original_max_position_embeddings", None)
        for name in fields.keys() - {"rope_theta", *ROPE_KINDS["llama3"]}:
            raise ConfigError(f"{name}: not a parameter of rope that is supported")
        if kind != "llama3":
            length = None  # other kinds may record it too, but it enters none of their formulas
        elif length is not None:
            length = as_size("original_max_position_embeddings", length)
        numbers = {name: as_positive(name, value) for name, value in fields.items()}
        theta = numbers.pop("rope_theta", cls.theta)
        return cls(kind=kind, theta=theta, original_max_position_embeddings=length, **numbers)


def _rope_fields(json: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of rope from wherever they stand; ConfigError where two places disagree."""
    beside = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
    fields = {name: json[name] for name in beside if json.get(name) is not None}
    for place in ("rope_parameters", "rope_scaling"):
        values = json.get(place)
        if not isinstance(values, dict | None):
            raise ConfigError(f"{place}: {values!r} is not an object")
        for name, value in (values or {}).items():
            key = "rope_type" if name == "type" else name
            if value is not None and fields.setdefault(key, value) != value:
                raise ConfigError(f"{place}.{name}: {value!r} contradicts {fields[key]!r}")
    return fields
