#!/usr/bin/env bash
# Makes a Python environment with other implementations of pvAccess and with h5py, for tests:
#   scripts/pva-peers.sh [FOLDER]
# Without FOLDER it is target/pva-peers. p4p has PVXS in it, pvapy has pvAccessCPP. The last line is what to export.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-target/pva-peers}
packages="p4p==4.3.0 pvapy==5.6.0 numpy==2.4.6 h5py==3.16.0"
# The list is written last: a folder without it is incomplete.
if [ "$(cat "$folder/beamflow-packages" 2>/dev/null)" != "$packages" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    # shellcheck disable=SC2086
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check $packages
    "$folder/bin/python" -c 'import h5py, numpy, p4p, pvaccess'
    echo "$packages" >"$folder/beamflow-packages"
fi
echo "export BEAMFLOW_PYTHON=$(cd "$folder" && pwd)/bin/python"
