#!/bin/sh
# llama-cpp-python's server. The first start compiles llama.cpp, for about ten minutes.
set -eu
. "$(dirname "$0")/venv.sh"
install 'llama-cpp-python[server]==0.3.36' gguf==0.19.0 \
    safetensors==0.8.0 sentencepiece==0.2.3 protobuf==7.36.2 tokenizers==0.23.3 \
    jaxtyping==0.3.11 ml-dtypes==0.6.0 rich==15.0.0 # what to_gguf.py imports

gguf=$venv/$name-$port.gguf
PYTHONPATH=$root "$venv/bin/python" -m conformance.third_party.to_gguf "$checkpoint" "$gguf"

# The model's own context (0) instead of 2048. Without logits_all a request for logprobs fails.
# Keys and values in float32 (0) instead of float16, which moves logits by a hundredth.
exec "$venv/bin/python" -m llama_cpp.server --model "$gguf" --model_alias "$name" \
    --host 127.0.0.1 --port "$port" --n_ctx 0 --logits_all true --type_k 0 --type_v 0 "$@"
