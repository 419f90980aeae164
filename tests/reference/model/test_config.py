"""config.json: supported fields are read, errors name the field."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.rope_config import RopeConfig

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
STRETCH = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "original_max_position_embeddings": 8192, **STRETCH}


def read(base: dict[str, Any] = LLAMA, **fields: Any) -> LlamaConfig:
    return LlamaConfig.from_json(base | fields)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_defaults_are_those_of_transformers(family: str) -> None:
    path = Path(__file__).parents[2] / "goldens" / "config_defaults.json"
    explicit = json.loads(path.read_text())[family]
    assert LlamaConfig.from_json({"model_type": family}) == LlamaConfig.from_json(explicit)


def test_llama_3_1_8b() -> None:
    config = read(
        hidden_size=4096,
        intermediate_size=14336,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        vocab_size=128256,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_scaling=LLAMA3,
        bos_token_id=128000,
        eos_token_id=[128001, 128008, 128009],
        pretraining_tp=1,
        attention_dropout=0.0,
        torch_dtype="bfloat16",
        transformers_version="4.42.3",
        use_cache=True,
    )
    assert config == LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope=RopeConfig(
            kind="llama3", theta=500000.0, original_max_position_embeddings=8192, **STRETCH
        ),
        bos_token_id=128000,
        eos_token_ids=(128001, 128008, 128009),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
        ({"rope_theta": 5e5, "rope_scaling": None}, {"rope_theta": 500000}),
        (
            {"rope_scaling": {"type": "linear", "factor": 2}},
            {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
        ),
        ({"rope_theta": 5e5, "rope_scaling": LLAMA3}, {"rope_theta": 5e5, **LLAMA3}),
    ],
)
def test_rope_parameters_equal_rope_scaling(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert read(**old) == read(rope_parameters=new) == read(rope_parameters=new, **old)


def test_linear_scaling_keeps_the_stored_context() -> None:
    config = read(rope_scaling={"type": "linear", "factor": 4.0}, max_position_embeddings=2048)
    assert config.max_position_embeddings == 2048


@pytest.mark.parametrize(
    ("fields", "window"), [({}, 4096), ({"sliding_window": None}, None), ({"sliding_window": 7}, 7)]
)
def test_mistral_sliding_window(fields: dict[str, Any], window: int | None) -> None:
    assert read(MISTRAL, **fields).sliding_window == window


@pytest.mark.parametrize(("base", "absent"), [(LLAMA, 32), (MISTRAL, 8)])
def test_key_value_heads(base: dict[str, Any], absent: int) -> None:
    assert read(base).num_key_value_heads == absent
    assert read(base, num_key_value_heads=None).num_key_value_heads == 32
    assert read(base, num_key_value_heads=1).num_key_value_heads == 1


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, (2,)),
        ({"eos_token_id": None}, ()),
        ({"eos_token_id": 0}, (0,)),
        ({"eos_token_id": [5, 3]}, (5, 3)),
    ],
)
def test_eos_token_ids(fields: dict[str, Any], ids: tuple[int, ...]) -> None:
    assert read(**fields).eos_token_ids == ids


@pytest.mark.parametrize(
    "fields",
    [
        {"head_dim": 64},
        {"head_dim": 64, "hidden_size": 100},
        {"bos_token_id": None},
        {"quantization_config": None},
        {"sliding_window": None},
        {"partial_rotary_factor": 1.0},
        {"pruned_heads": {}},
        {"is_encoder_decoder": False},
        {"layer_types": ["full_attention"] * 32},
        {"rope_scaling": {"rope_type": "default", "factor": 1.0}},
        {"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}},
        {"rope_parameters": {}},
        {"rope_scaling": LLAMA3, "original_max_position_embeddings": 8192},
        {"architectures": None},
        {"model_type": None},
        {"dtype": "float16", "torch_dtype": "bfloat16"},
        {"something_of_a_tool": [1, 2]},
    ],
)
def test_accepted_fields(fields: dict[str, Any]) -> None:
    read(**fields)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"architectures": ["Qwen2ForCausalLM"]}, "architectures"),
    ({"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]}, "architectures"),
    ({"architectures": ["LlamaModel"]}, "architectures"),
    ({"architectures": [["LlamaForCausalLM"]]}, "architectures"),
    ({"architectures": "LlamaForCausalLM"}, "architectures"),
    ({"architectures": []}, "architectures"),
    ({"architectures": None, "model_type": "qwen2"}, "model_type"),
    ({"architectures": None, "model_type": None}, "model_type"),
    ({"architectures": None, "model_type": ["llama"]}, "model_type"),
    ({"model_type": "mistral"}, "model_type"),
    ({"hidden_act": "gelu"}, "hidden_act"),
    ({"hidden_act": None}, "hidden_act"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ({"quantization_config": {}}, "quantization_config"),
    ({"per_layer_config": {"0": {}}}, "per_layer_config"),
    ({"layer_types": ["sliding_attention"] * 32}, "layer_types"),
    ({"layer_types": ["full_attention"] * 31}, "layer_types"),
    ({"layer_types": "full_attention"}, "layer_types"),
    ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
    ({"logit_scale": 0.5}, "logit_scale"),
    ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    ({"sliding_window": 4096}, "sliding_window"),
    ({"use_sliding_window": True}, "use_sliding_window"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
    ({"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 32}}, "yarn"),
    ({"rope_parameters": {"rope_type": "longrope", "long_factor": [1.0]}}, "longrope"),
    ({"rope_scaling": {"type": "su"}}, "rope_type"),
    ({"rope_scaling": {"type": ["linear"]}}, "rope_type"),
    ({"rope_scaling": {"type": "linear"}}, "factor"),
    ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor"),
    ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
    ({"rope_scaling": {"type": "linear", "factor": 2, "low_freq_factor": 1}}, "low_freq_factor"),
    ({"rope_scaling": {"factor": 2.0}}, "factor"),
    ({"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 2}}, "rope_type"),
    ({"rope_scaling": {"type": "linear", "factor": 2, "mscale": 1}}, "mscale"),
    ({"rope_scaling": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
    ({"rope_scaling": [1]}, "rope_scaling"),
    ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": None}}, "original_max"),
    ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8.5}}, "original_max"),
    ({"rope_scaling": LLAMA3, "original_max_position_embeddings": 4096}, "original_max"),
    ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "high_freq_factor"),
    ({"rope_scaling": LLAMA3 | {"high_freq_factor": None}}, "high_freq_factor"),
    ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}, "rope_theta"),
    ({"rope_theta": 0}, "rope_theta"),
    ({"rope_theta": float("inf")}, "rope_theta"),
    ({"rope_theta": 10**400}, "rope_theta"),
    ({"hidden_size": 0}, "hidden_size"),
    ({"hidden_size": 4096.0}, "hidden_size"),
    ({"hidden_size": 100}, "hidden_size"),
    ({"vocab_size": None}, "vocab_size"),
    ({"vocab_size": "32000"}, "vocab_size"),
    ({"num_hidden_layers": True}, "num_hidden_layers"),
    ({"num_attention_heads": 0}, "num_attention_heads"),
    ({"intermediate_size": -1}, "intermediate_size"),
    ({"max_position_embeddings": 0}, "max_position_embeddings"),
    ({"num_key_value_heads": 5}, "num_key_value_heads"),
    ({"head_dim": 63}, "head_dim"),
    ({"rms_norm_eps": 0}, "rms_norm_eps"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ({"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
    ({"attention_bias": 1}, "attention_bias"),
    ({"tie_word_embeddings": None}, "tie_word_embeddings"),
    ({"eos_token_id": -1}, "eos_token_id"),
    ({"eos_token_id": [2, "3"]}, "eos_token_id"),
    ({"bos_token_id": [1]}, "bos_token_id"),
    (MISTRAL | {"sliding_window": 0}, "sliding_window"),
    (MISTRAL | {"attention_bias": True}, "attention_bias"),
    (MISTRAL | {"mlp_bias": True}, "mlp_bias"),
    (MISTRAL | {"layer_types": ["full_attention"] * 32}, "layer_types"),
    (MISTRAL | {"use_sliding_window": False}, "use_sliding_window"),
]


@pytest.mark.parametrize(("fields", "name"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_fields_are_named(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read(**fields)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([1, 2, 64, 10**400]),
        st.floats(),
        st.sampled_from(["llama", "linear", "llama3", "silu"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*LLAMA3, "type", "rope_theta"]), inner, max_size=4),
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        *json.loads((Path(__file__).parents[2] / "goldens/config_defaults.json").read_text())[
            "mistral"
        ],
        *("architectures", "rope_scaling", "rope_theta", "layer_types", "quantization_config"),
    ]
)


@given(base=st.sampled_from([LLAMA, MISTRAL]), fields=st.dictionaries(NAMES, VALUES, max_size=3))
def test_arbitrary_json_loads_or_is_refused(base: dict[str, Any], fields: dict[str, Any]) -> None:
    try:
        read(base, **fields)
    except ConfigError:
        pass
