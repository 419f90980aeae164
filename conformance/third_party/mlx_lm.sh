#!/bin/sh
# mlx-lm's server, on the CPU.
set -eu
. "$(dirname "$0")/venv.sh"
install mlx-lm==0.32.2 'mlx[cpu]==0.32.4' transformers==5.23.0

# It computes in the dtype of the file, so that is made float32.
copies=$venv/checkpoints-$port
rm -rf "$copies"
mkdir "$copies"
"$venv/bin/python" -m mlx_lm convert --hf-path "$checkpoint" --mlx-path "$copies/$name" --dtype float32

cd "$copies" # the server knows a model by its path, and this makes it short
exec "$venv/bin/python" -m mlx_lm server --model "$name" --host 127.0.0.1 --port "$port" "$@"
