"""The quantized linear layers of a model: which they are, and how they are stored and multiplied.

`reference.model.quantization_config` reads this from a config.json, `reference.model.quantization`
has the arithmetic.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

INT8, FP8 = "int8", "fp8_e4m3"
STATIC, DYNAMIC = "static", "dynamic"
LINEAR = "Linear"  # as a target: every linear layer
FLOATS = ("F32", "F16", "BF16")
STORED_AS = {INT8: "I8", FP8: "F8_E4M3"}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """The storage and the arithmetic of a quantized linear layer.

    number: INT8 or FP8, of the weights and of the inputs. rows, columns: the block of weights that
    shares a scale; None: all. inputs: STATIC or DYNAMIC; None: they are not rounded. With
    `columns`, as many inputs share a dynamic scale. packed: four weights in an int32.
    """

    number: str
    rows: int | None = None
    columns: int | None = None
    inputs: str | None = None
    packed: bool = False

    def scale_shape(self, out_features: int, in_features: int) -> tuple[int, int]:
        """Return the shape of the weight scales, one for each block."""
        rows, columns = self.rows or out_features, self.columns or in_features
        return -(-out_features // rows), -(-in_features // columns)

    def tensors(self, module: str, shape: tuple[int, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name and the shape of each tensor of a linear layer with (out, in) weights."""
        if self.packed:
            yield f"{module}.weight_packed", (shape[0], -(-shape[1] // 4))
            yield f"{module}.weight_shape", (2,)
        else:
            yield f"{module}.weight", shape
        yield f"{module}.weight_scale", self.scale_shape(*shape)
        if self.inputs == STATIC:
            yield f"{module}.input_scale", (1, 1)


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """The quantized linear layers of a model.

    targets, ignore: names of modules, or regular expressions after "re:"; LINEAR is all linear
    layers. kv_scales: each layer has scales of an fp8 KV cache. renamed: suffixes of tensor names →
    those of `Scheme.tensors`.
    """

    scheme: Scheme
    targets: tuple[str, ...] = (LINEAR,)
    ignore: tuple[str, ...] = ()
    kv_scales: bool = False
    renamed: tuple[tuple[str, str], ...] = ()

    def applies(self, module: str) -> bool:
        """Return whether a linear layer is quantized. module: its name, without `.weight`."""
        return any(target == LINEAR or matches(target, module) for target in self.targets) and not (
            any(matches(entry, module) for entry in self.ignore)
        )

    def stored_dtypes(self, tensor: str) -> tuple[str, ...]:
        """Return the dtypes that a tensor may have in a file."""
        module, _, kind = tensor.rpartition(".")
        if kind in ("weight_packed", "weight_shape"):
            return ("I32",) if kind == "weight_packed" else ("I64", "I32")
        is_quantized = kind == "weight" and module.endswith("_proj") and self.applies(module)
        return (STORED_AS[self.scheme.number],) if is_quantized else FLOATS

    def canonical(self, tensor: str) -> str:
        """Return the name of a tensor in `Scheme.tensors`."""
        for old, new in self.renamed:
            if tensor.endswith(old):
                return tensor.removesuffix(old) + new
        return tensor


def matches(entry: str, module: str) -> bool:
    """Return whether an entry of `targets` or `ignore` names a module.

    >>> matches("re:.*mlp", "model.layers.0.mlp.up_proj"), matches("mlp", "model.layers.0.mlp")
    (True, False)
    """
    if entry.startswith("re:"):
        return re.match(entry.removeprefix("re:"), module) is not None
    return entry == module
