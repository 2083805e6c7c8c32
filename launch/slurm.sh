#!/usr/bin/env bash
# One run on the nodes of a Slurm allocation, a process for each GPU, started again as long as that helps.
#
#   sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 --time=24:00:00 launch/slurm.sh --config=FILE --workdir=DIR [ARG..]
#   launch/slurm.sh --dry-run ARG..       print what would be run
#
# To be submitted from the checkout, on a file system that all nodes share, after `launch/local.sh setup` on such a node. ARGs go
# to python -m hpa_jax.main; DIR has to be shared too. The processes find each other by Slurm's variables.
#
# Two minutes before the time limit, and when Slurm takes the nodes away, the run saves and the job is put into the queue again.
# A process that dies or hangs is named by the others; then all are started again in the same allocation, HPA_MAX_LOSSES (10)
# times at most. Any other status is passed on.
#SBATCH --job-name=hpa_jax
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=hpa_jax-%j.log
set -euo pipefail

usage() {
  sed -n '2,/^#SBATCH/{/^#SBATCH/d;s/^# \{0,1\}//;p}' "$0"
}

case "${1:-}" in
-h | --help) usage && exit 0 ;;
--dry-run)
  shift
  # a failed task is not to take the others with it: they name it, and end by themselves
  printf '+ srun --label --kill-on-bad-exit=0 .venv/bin/python -m hpa_jax.main'
  printf ' %q' "$@"
  printf '\n# status 75 after a SIGTERM to this script: scontrol requeue; a process that died or hung: srun again\n'
  exit 0
  ;;
'')
  usage >&2
  exit 2
  ;;
esac
[ -n "${SLURM_JOB_ID:-}" ] || { echo "error: no Slurm job; call it as sbatch ... launch/slurm.sh $*" >&2 && exit 2; }
cd "${SLURM_SUBMIT_DIR:?}" # what runs is a copy of this file in another folder
[ -x .venv/bin/python ] || { echo "error: $PWD has no .venv; run launch/local.sh setup there" >&2 && exit 2; }

asked='' losses=0 child=''
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM # srun passes it on to every process
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

while :; do
  : >"$errors"
  srun --label --kill-on-bad-exit=0 .venv/bin/python -m hpa_jax.main "$@" 2> >(tee "$errors" >&2) &
  child=$!
  status=0
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # a trapped signal ends `wait` early
    status=0
    wait "$child" || status=$?
  done
  if [ -n "$asked" ] && { [ "$status" -eq 75 ] || [ "$status" -eq 143 ]; }; then
    echo "the run has saved and stopped; job $SLURM_JOB_ID goes into the queue again" >&2
    scontrol requeue "$SLURM_JOB_ID"
    exit 75
  fi
  sleep 1 # until tee has written
  again=no
  [ "$status" -ne 75 ] || again=yes
  # srun gives the highest status of all processes: 1 of those that named another, or over 128 of one that was killed
  if { [ "$status" -eq 1 ] || [ "$status" -gt 128 ]; } && grep -q 'stopped: .*; start all processes again' "$errors"; then
    again=yes losses=$((losses + 1))
  fi
  if [ "$again" = no ] || [ "$losses" -gt "${HPA_MAX_LOSSES:-10}" ] || [ -n "$asked" ]; then
    exit "$status"
  fi
  echo "started again after exit status $status" >&2
done
