#!/usr/bin/env bash
# Checks and measures the CUDA component on a machine with a GPU, in less than eight minutes.
#
#   make cuda-programs && benchmarks/cuda/run.sh OUT
#
# Each part has a limit in seconds and leaves OUT/<part>.log and OUT/<part>.json; OUT/summary.json has the results of all
# parts. PYTHON is a Python with equiprop, PyTorch and pytest (.venv/bin/python); BUILD is the folder of the programs
# (build/cuda); MNIST_DIR is a folder with MNIST's four files, without which images are random numbers.
#
# If EQUIPROP_CUDA_EMULATED is the folder of the package on the emulated device, all parts run there at small sizes and with
# longer limits: a trial of this script on a machine without a GPU.
set -uo pipefail
if [ $# != 1 ]; then
  echo "usage: benchmarks/cuda/run.sh OUT" >&2
  exit 2
fi
mkdir -p "$1" || exit
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.." || exit
here=benchmarks/cuda
python=${PYTHON:-.venv/bin/python}
if [ -n "${EQUIPROP_CUDA_EMULATED:-}" ]; then
  package=$EQUIPROP_CUDA_EMULATED
  programs=$EQUIPROP_CUDA_EMULATED/..
  checksum=cuda_checksum_emulated suite=test_cuda filter='BatchPhases/DeviceFloat.StatesAreKept'
  size=--small slower=20 tests=(tests/python/test_cuda.py -k goes_to_a_device)
else
  package=$(realpath -m "${BUILD:-build/cuda}/cpp/cuda/python")
  programs=$(realpath -m "${BUILD:-build/cuda}/tests/cuda")
  checksum=cuda_checksum suite=test_cuda_device filter='*Device*'
  size='' slower=1 tests=(tests/python/test_cuda*.py)
fi
export EQUIPROP_CUDA_EMULATED=$package PYTHONPATH=$package${PYTHONPATH:+:$PYTHONPATH}
rm -f "$out"/*.json "$out"/*.log "$out/parts.txt"

# part NAME SECONDS COMMAND...: a command that writes OUT/NAME.json
part() {
  local name=$1 limit=$2 begin=$SECONDS status=0
  shift 2
  timeout --kill-after=5 $((limit * slower)) "$@" >"$out/$name.log" 2>&1 || status=$?
  echo "$name $limit $status $((SECONDS - begin))" >>"$out/parts.txt"
  echo "$name: status $status, $((SECONDS - begin)) s"
}

part machine 20 "$python" $here/machine.py "$out/machine.json"
part checksums 40 "$python" $here/checksums.py "$out/checksums.json" "$programs/$checksum" "$programs/cuda_checksum_emulated" $size
part suite_cpp 70 "$programs/$suite" --gtest_filter="$filter" --gtest_output="json:$out/suite_cpp.json"
part suite_python 80 "$python" $here/python_suite.py "$out/suite_python.json" "${tests[@]}"
part sanitizers 100 "$python" $here/sanitizers.py "$out/sanitizers.json" "$programs/$checksum"
part steps 80 "$python" $here/steps.py "$out/steps.json" dense $size
part image_steps 40 "$python" $here/steps.py "$out/image_steps.json" images $size
part mnist 40 "$python" $here/mnist.py "$out/mnist.json" $size
"$python" $here/summary.py "$out"
