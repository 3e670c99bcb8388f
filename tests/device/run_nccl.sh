#!/usr/bin/env bash
# Ranks with a GPU each: as threads, as processes, under torchrun and mpirun; equal bits; a killed rank.
# Usage: tests/device/run_nccl.sh PROGRAMS (the folder with moe_trainer and device_nccl) [OUT]
# RANKS: 2 or 4 (default: as many as there are GPUs). PARTS: some of collectives, bits, kill, oracles. MODELS: of the oracles.
# JOBS: plans of the oracles that run at once (default 1); more than one needs CUDA's multi-process service, which is started for them.
# BACKEND=cpu runs bits and oracles without a GPU, to try the script itself.
set -uo pipefail
bin=$(realpath "$1"); out=${2:-$(mktemp -d)}; here=$(realpath "$(dirname "$0")/../..")
cd "$here" || exit 1
backend=${BACKEND:-cuda} ranks=${RANKS:-$(nvidia-smi -L | wc -l)}
case $ranks in
  2) plans=("bf16 --mesh fsdp=2" "f32 --mesh tp=2 --sp --ep") ;;
  4) plans=("bf16 --mesh fsdp=4" "f32 --mesh fsdp=2,tp=2 --sp --ep" "bf16 --mesh fsdp=4,ep=4 --ep --ep-mode dispatch") ;;
  *) echo "run_nccl: RANKS is 2 or 4, not $ranks" >&2; exit 2 ;;
esac
export MOE_TRAINER=$bin/moe_trainer PLAIT_TEST_BACKEND=$backend NCCL_NVLS_ENABLE=0 PYTHONUNBUFFERED=1
nccl=$(python3 -c 'import nvidia.nccl, os; print(os.path.join(list(nvidia.nccl.__path__)[0], "lib"))' 2>/dev/null) && export LD_LIBRARY_PATH=$nccl:${LD_LIBRARY_PATH:-}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
failed=0
part() {
  local begin=$SECONDS
  echo "== $1"; shift
  timeout "${LIMIT:-150}" "$@" || { echo "FAILED ($?): $*"; failed=1; }
  echo "== $((SECONDS - begin)) s"
}
want() { [ -z "${PARTS:-}" ] || [[ " $PARTS " == *" $1 "* ]]; }

want collectives && part "collectives" "$bin/device_nccl"

# The same training run, by everything that can carry it. bf16 and float32; sums in rank order give the bits of one shared GPU.
train=(train --backend "$backend" --tokens examples/data/verse.txt --seq 256 --batch 8 --steps 6 --save-every 3)
torchrun=(python3 -m torch.distributed.run --no-python --standalone --nproc-per-node "$ranks" --)
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$ranks")
same() {
  diff -r -x .lock "$work/$1" "$work/$2" >/dev/null && diff <(sed 's/"tokens_per_second".*"expert_load/"expert_load/; s/"memory_peak.*//' "$work/$1.log") \
    <(sed 's/"tokens_per_second".*"expert_load/"expert_load/; s/"memory_peak.*//' "$work/$2.log") >/dev/null && echo "equal: $1 and $2" ||
    { echo "DIFFERENT: $1 and $2"; return 1; }
}
bits() {
  local bad=0 dtype=$1; shift
  local run=("${train[@]}" --dtype "$dtype" "$@") name="$dtype"
  go() { local to=$1; shift; timeout "${RUN_LIMIT:-100}" "$@" "${run[@]}" "${more[@]}" --save "$work/$name-$to" --log "$work/$name-$to.log" >"$work/out" 2>&1 || { echo "$to failed"; tail -5 "$work/out"; bad=1; }; grep -m1 '^plan' "$work/out"; }
  local more=()
  CUDA_VISIBLE_DEVICES=0 go shared "$MOE_TRAINER"
  go threads "$MOE_TRAINER"; same "$name-shared" "$name-threads" || bad=1
  go again "$MOE_TRAINER"; same "$name-threads" "$name-again" || bad=1
  more=(--processes "$ranks"); go processes "$MOE_TRAINER"; same "$name-threads" "$name-processes" || bad=1
  more=()
  if [ "$dtype" = bf16 ]; then
    go torchrun "${torchrun[@]}" "$MOE_TRAINER"; same "$name-threads" "$name-torchrun" || bad=1
    if command -v mpirun >/dev/null; then go mpirun "${mpirun[@]}" "$MOE_TRAINER"; same "$name-threads" "$name-mpirun" || bad=1; else echo "mpirun: not here"; fi
    [ "$backend" = cuda ] || return $bad
    more=(--sums nccl); go library "$MOE_TRAINER"; go library2 "$MOE_TRAINER"; same "$name-library" "$name-library2" || bad=1
  fi
  rm -rf "${work:?}"/*
  return $bad
}
if want bits; then
  LIMIT=0
  for plan in "${plans[@]}"; do
    echo "== equal bits: $plan"; begin=$SECONDS
    # shellcheck disable=SC2086
    bits $plan || failed=1
    echo "== $((SECONDS - begin)) s"
  done
  LIMIT=150
fi

if want kill; then
  part "a killed rank" python3 tests/device/kill_rank.py "$ranks"
fi
if want oracles; then
  LIMIT=1200  # 12 to 17 s a plan, one at a time: without the service, programs that share GPUs wait for each other's time slices.
  export PLAIT_TEST_RANKS=$ranks
  if [ "${JOBS:-1}" -gt 1 ]; then
    export PLAIT_TEST_JOBS=$JOBS
    if [ "$backend" = cuda ]; then
      export CUDA_MPS_PIPE_DIRECTORY=$work/service CUDA_MPS_LOG_DIRECTORY=$out
      mkdir -p "$CUDA_MPS_PIPE_DIRECTORY"
      nvidia-cuda-mps-control -d || { echo "run_nccl: JOBS=$JOBS needs CUDA's multi-process service (nvidia-cuda-mps-control)" >&2; exit 2; }
      trap 'echo quit | nvidia-cuda-mps-control; rm -rf "$work"' EXIT
    fi
  fi
  # shellcheck disable=SC2206
  models=(${MODELS:-mixtral_aux})
  part "oracles, threads" python3 tests/trainer/oracles.py "${models[@]}"
  PLAIT_TEST_FLAGS="--processes $ranks" part "oracles, processes" python3 tests/trainer/oracles.py "${models[@]}"
  PLAIT_TEST_LAUNCHER="${torchrun[*]}" part "oracles, torchrun" python3 tests/trainer/oracles.py "${models[0]}"
  command -v mpirun >/dev/null && PLAIT_TEST_LAUNCHER="${mpirun[*]}" part "oracles, mpirun" python3 tests/trainer/oracles.py "${models[0]}"
fi
echo "run_nccl: $([ $failed = 0 ] && echo passed || echo FAILED)" | tee -a "$out/summary"
exit $failed
