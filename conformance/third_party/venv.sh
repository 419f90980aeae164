# Sourced by the scripts beside it, with their arguments: CHECKPOINT PORT [VENV [OPTION…]]
#
# Sets `checkpoint`, `port`, `venv` and `root`, leaves OPTION… in "$@", and prints the name under
# which the model is to be asked for: that of its directory.
[ $# -ge 2 ] || { echo "usage: $0 CHECKPOINT PORT [VENV [OPTION…]]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
checkpoint=$(cd "$1" && pwd)
name=$(basename "$checkpoint")
port=$2
venv=${3:-$root/.venv-servers/$(basename "$0" .sh)}
shift "$(($# < 3 ? $# : 3))"

# install PACKAGE==VERSION…: into the venv, once.
install() {
    if [ ! -e "$venv/ready" ]; then
        "${PYTHON:-python3}" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    fi
    venv=$(cd "$venv" && pwd)
    touch "$venv/ready"
    # Nothing is downloaded, and what else this machine has is not offered: an empty cache, which
    # has to exist, or some servers fail to list their models.
    export HF_HUB_OFFLINE=1 HF_HOME="$venv/hugging-face"
    mkdir -p "$HF_HOME/hub"
    echo "http://127.0.0.1:$port/v1/completions, \"model\": \"$name\""
}
