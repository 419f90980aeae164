#!/bin/sh
# transformers serve. torch is to be a CPU build: point pip at one, or gigabytes of CUDA come along.
set -eu
. "$(dirname "$0")/venv.sh"
install 'transformers[serving]==5.23.0' torch==2.13.0 sentencepiece==0.2.3 protobuf==7.36.2

cd "$checkpoint/.." # the server knows a model by its path, and this makes it short
exec "$venv/bin/transformers" serve "$name" --host 127.0.0.1 --port "$port" \
    --device cpu --dtype float32 "$@"
