#!/usr/bin/env bash
# What launch/tpu_vm.sh does on each worker of a TPU slice: install, start, poll, log, size, stop, kill.
#
# launch/tpu_vm.sh copies this file into the home folder of every worker and calls it over ssh. The run continues without the
# connection: a supervisor in a session of its own starts it, waits for it, and writes down its exit status. Everything about
# the run lies in ~/.hpa_jax_run: log, command, supervisor, child, status.
#
#   tpu_worker.sh install copy | install clone URL [REF]    checkout into ~/hpa_jax, packages into ~/hpa_jax/.venv
#   tpu_worker.sh start SETUP -- COMMAND...                 SETUP is a shell line run first ('' for none)
#   tpu_worker.sh poll                                      one line: HPA_JAX_RUN running|exit|peer|stopped|lost|absent NUMBER
#   tpu_worker.sh log OFFSET | size                         the log from that byte on (at most 1 MB); its length
#   tpu_worker.sh stop [SECONDS] | kill [SECONDS]           SIGTERM, wait; kill follows with SIGKILL, stop does not
#
# Statuses: 3 something runs already, 4 SETUP failed, 5 the installation failed, 6 the run has not stopped yet, 7 no supervisor.
# Never 255, which gcloud takes for a broken connection.
set -euo pipefail

run=$HOME/.hpa_jax_run
checkout=$HOME/hpa_jax
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")

die() { # status, message
  printf 'error: %s: %s\n' "$(hostname)" "$2" >&2
  exit "$1"
}

boot() { cat /proc/sys/kernel/random/boot_id; }

# A process number means nothing after a reboot, so the supervisor's stands beside the boot's id.
supervised() {
  local pid id
  [ -e "$run/supervisor" ] && read -r pid id <"$run/supervisor" && [ "$id" = "$(boot)" ] && kill -0 "$pid" 2>/dev/null
}

state() {
  # the status is written before the supervisor ends, so it is looked for first, and again when the supervisor is gone
  if [ ! -e "$run/supervisor" ]; then
    echo "absent 0"
  elif [ ! -e "$run/status" ] && supervised; then
    echo "running $(cksum <"$run/command" | cut -d ' ' -f 1)"
  elif [ ! -e "$run/status" ]; then
    echo "lost 0"
  elif [ -e "$run/stopped" ]; then
    echo "stopped $(cat "$run/status")"
  elif ended_for_another; then
    echo "peer $(cat "$run/status")"
  else
    echo "exit $(cat "$run/status")"
  fi
}

# Whether the last run ended since another process was dead or hung: its last message, hpa_jax/parallel/group_health.py.
ended_for_another() {
  [ "$(cat "$run/status")" = 1 ] && tail -n 200 "$run/log" | awk '
    /^=== .* start:/ { found = 0 }
    /stopped: .*; start all processes again/ { found = 1 }
    END { exit !found }'
}

python_of_this_machine() {
  local name
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  return 1
}

install() {
  local how=$1 url=${2:-} ref=${3:-} python
  if [ "$how" = copy ]; then
    mkdir -p "$checkout" # unpacked over what is there: a working folder inside the checkout stays
    tar -xzf "$HOME/hpa_jax.tar.gz" -C "$checkout" || die 5 "cannot unpack the checkout"
  else
    if [ ! -e "$checkout/.git" ]; then
      git clone --quiet -- "$url" "$checkout" || die 5 "cannot clone $url"
    fi
    cd "$checkout"
    git remote set-url origin "$url"
    git fetch --quiet --tags origin || die 5 "cannot fetch from $url"
    # a branch as it is over there now, or else a tag or commit
    ref=$(git rev-parse --verify --quiet "origin/${ref:-HEAD}" || echo "$ref")
    git checkout --quiet --detach "$ref" || die 5 "$url has no $ref"
  fi
  cd "$checkout"
  if ! python=$(python_of_this_machine); then
    # Ubuntu 22.04, which most TPU runtimes are, comes with Python 3.10 and JAX wants 3.11; at first boot apt's lock is held for a while
    local apt=(sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
    if ! "${apt[@]}" update || ! "${apt[@]}" install -y python3.11 python3.11-venv >/dev/null; then
      die 5 "no Python of at least 3.11, and apt-get cannot install one"
    fi
    python=$(python_of_this_machine) || die 5 "no Python of at least 3.11"
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv || die 5 "cannot make .venv"
  # pip refuses an editable project under --require-hashes: the lock first, then the project without its dependencies
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  "${pip[@]}" --require-hashes -r requirements/tpu.lock || die 5 "pip could not install requirements/tpu.lock"
  # paths gs://BUCKET/FOLDER, which is where most people on Cloud TPU keep what they have
  "${pip[@]}" --require-hashes -r requirements/gcs.lock || die 5 "pip could not install requirements/gcs.lock"
  "${pip[@]}" --no-deps --no-build-isolation -e . || die 5 "pip could not install the project"
  echo "installed on $(hostname)" >&2
}

start() {
  local setup=$1 tries=0
  shift 2 # SETUP and --
  mkdir -p "$run"
  case $(state) in running*) die 3 "a run is going already" ;; esac
  cd "$checkout"
  export PATH="$checkout/.venv/bin:$PATH" VIRTUAL_ENV="$checkout/.venv"
  if [ -n "$setup" ] && ! bash -c "$setup" >"$run/setup.log" 2>&1; then
    tail -n 20 "$run/setup.log" >&2
    die 4 "the setup line failed: $setup"
  fi
  rm -f "$run/status" "$run/stopped" "$run/supervisor"
  printf '%s\0' "$@" >"$run/command"
  printf '=== %s start:%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(printf ' %q' "$@")" >>"$run/log"
  setsid nohup bash "$script" supervise "$@" </dev/null >>"$run/log" 2>&1 &
  while [ ! -s "$run/supervisor" ]; do
    [ $((tries += 1)) -le 300 ] || die 7 "the supervisor did not start"
    sleep 0.1
  done
}

supervise() {
  local child code=0
  printf '%s %s\n' $$ "$(boot)" >"$run/supervisor.tmp"
  mv "$run/supervisor.tmp" "$run/supervisor"
  "$@" &
  child=$!
  echo "$child" >"$run/child"
  wait "$child" || code=$?
  printf '=== %s exit status %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$code"
  echo "$code" >"$run/status.tmp"
  mv "$run/status.tmp" "$run/status"
}

# The signal goes to the run itself and not to its children: it saves, and ends them in its own order.
end_run() { # signal, seconds to wait
  local waited=0
  case $(state) in running*) ;; *) return 0 ;; esac
  kill "-$1" "$(cat "$run/child")" 2>/dev/null || true
  while case $(state) in running*) ;; *) false ;; esac do
    [ $((waited += 1)) -le "$2" ] || return 1
    sleep 1
  done
}

main() {
  local action=${1:-}
  [ $# -eq 0 ] || shift
  case $action in
  install) install "$@" ;;
  start) start "$@" ;;
  supervise) supervise "$@" ;;
  poll) echo "HPA_JAX_RUN $(state)" ;;
  size) if [ -e "$run/log" ]; then wc -c <"$run/log"; else echo 0; fi ;;
  # tail is cut off by head where the log is longer
  log) if [ -e "$run/log" ]; then tail -c "+$(($1 + 1))" "$run/log" | head -c 1000000 || true; fi ;;
  stop)
    mkdir -p "$run"
    touch "$run/stopped" # so that whoever watches does not start it again
    end_run TERM "${1:-600}" || die 6 "the run has not stopped yet; ask again"
    ;;
  kill) end_run TERM "${1:-60}" || end_run KILL 30 || die 6 "the run cannot be killed" ;;
  *) die 2 "no such action: $action" ;;
  esac
}

# In one line, so that bash has read all of the file before a newer one is copied over it.
main "$@"; exit
