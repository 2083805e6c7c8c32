#!/usr/bin/env bash
# Runs one command on all workers of a Cloud TPU slice, and keeps it running: creates (or finds) the slice, installs, starts,
# follows the log, and after a preemption deletes, creates and starts again. See launch/README.md; `-h` lists the flags.
#
# Design: the run does not depend on this script. It continues when the connection or this machine fails, and the same call
# finds it again.
set -euo pipefail

usage() {
  cat <<'EOF'
Runs a command on all workers of a Cloud TPU slice, and starts it again after a preemption.

  launch/tpu_vm.sh --name=NAME --project=PROJECT --zone=ZONE --accelerator-type=TYPE --version=VERSION [FLAGS] -- COMMAND...
  launch/tpu_vm.sh --stop   --name=NAME --project=PROJECT --zone=ZONE
  launch/tpu_vm.sh --delete --name=NAME --project=PROJECT --zone=ZONE

  --name=NAME               of the TPU VM (and of the queued resource); a slice of that name is found again and used
  --project=PROJECT         that pays
  --zone=ZONE               where the accelerator is offered, such as us-west4-a
  --accelerator-type=TYPE   such as v5litepod-8, v5p-8, v6e-8
  --version=VERSION         runtime, such as v2-alpha-tpuv5-lite, v2-alpha-tpuv5, v2-alpha-tpuv6e, tpu-ubuntu2204-base
  --spot                    cheaper, and can be taken away at any time
  --queued                  ask through a queued resource, which waits for capacity, and not by creating directly
  --copy                    copy this checkout to the workers, less what git ignores (default)
  --repo=URL [--ref=REF]    clone it there instead, at a branch, tag or commit
  --setup=LINE              shell line run on every worker before each start: mount a bucket, copy data. It must bear repeating
  --create-flag=FLAG        handed to the command that creates, such as --create-flag=--internal-ips (repeatable)
  --connect-flag=FLAG       handed to gcloud's ssh and scp, such as --connect-flag=--internal-ip (repeatable)
  --poll-seconds=N          between two looks at the run (default 30); also the first back-off
  --max-restarts=N          give up after so many (default 100)
  --max-losses=N            give up when a process has died or hung more often than that (default 10)
  --delete-when-done        delete the slice when the command has ended with status 0
  --stop                    stop the run after it has saved; the slice stays and costs money
  --delete                  delete the slice and its queued resource
  --dry-run                 print all that would be done, and do nothing

The command runs in the checkout with its .venv first on PATH. Its exit status decides: 0 finished; 75, a lost worker and a process
that the others name as dead or hung start it again; any other is passed on. Ctrl-C leaves the run going; the same call attaches
to it again.
EOF
}

die() { # status, message
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
action=run name='' project='' zone='' accelerator='' version='' repo='' ref='' setup=''
spot=no queued=no copy=no delete_when_done=no dry=no poll=30 max_restarts=100 max_losses=10
create_flags=() connect_flags=() command=()

while [ $# -gt 0 ]; do
  flag=$1 value=''
  shift
  case $flag in
  --) command=("$@") && break ;;
  --name | --project | --zone | --accelerator-type | --version | --repo | --ref | --setup | --create-flag | --connect-flag | --poll-seconds | --max-restarts | --max-losses)
    [ $# -gt 0 ] || die 2 "$flag wants a value; see launch/tpu_vm.sh -h"
    value=$1
    shift
    ;;
  --spot=* | --queued=* | --copy=* | --delete-when-done=* | --dry-run=* | --stop=* | --delete=*)
    die 2 "${flag%%=*} takes no value; see launch/tpu_vm.sh -h"
    ;;
  --*=*) value=${flag#*=} flag=${flag%%=*} ;;
  esac
  case $flag in
  --name) name=$value ;;
  --project) project=$value ;;
  --zone) zone=$value ;;
  --accelerator-type) accelerator=$value ;;
  --version) version=$value ;;
  --repo) repo=$value ;;
  --ref) ref=$value ;;
  --setup) setup=$value ;;
  --create-flag) create_flags+=("$value") ;;
  --connect-flag) connect_flags+=("$value") ;;
  --poll-seconds) poll=$value ;;
  --max-restarts) max_restarts=$value ;;
  --max-losses) max_losses=$value ;;
  --spot) spot=yes ;;
  --queued) queued=yes ;;
  --copy) copy=yes ;;
  --delete-when-done) delete_when_done=yes ;;
  --dry-run) dry=yes ;;
  --stop) action=stop ;;
  --delete) action=delete ;;
  -h | --help) usage && exit 0 ;;
  *) die 2 "unknown argument $flag; the command to run comes after --; see launch/tpu_vm.sh -h" ;;
  esac
done

missing=''
for pair in "name=$name" "project=$project" "zone=$zone"; do
  [ -n "${pair#*=}" ] || missing="$missing --${pair%%=*}"
done
if [ "$action" = run ]; then
  for pair in "accelerator-type=$accelerator" "version=$version"; do
    [ -n "${pair#*=}" ] || missing="$missing --${pair%%=*}"
  done
  [ ${#command[@]} -gt 0 ] || missing="$missing -- COMMAND"
fi
[ -z "$missing" ] || die 2 "missing:$missing; nothing that costs money is guessed; see launch/tpu_vm.sh -h"
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || die 2 "--name=$name: wanted small letters, digits and hyphens, a letter first"
[[ $poll =~ ^[0-9]+$ && $max_restarts =~ ^[0-9]+$ && $max_losses =~ ^[0-9]+$ ]] ||
  die 2 "--poll-seconds, --max-restarts and --max-losses must be whole numbers"
[ -z "$repo" ] || [ "$copy" = no ] || die 2 "--copy and --repo exclude each other"
[ -z "$ref" ] || [ -n "$repo" ] || die 2 "--ref wants --repo"
[ "$dry" = yes ] || type gcloud >/dev/null 2>&1 || die 2 "gcloud is not installed: see https://cloud.google.com/sdk/docs/install"

export CLOUDSDK_CORE_DISABLE_PROMPTS=1
exec 3>&2 # a signal can come while stderr goes into a file
where=("--project=$project" "--zone=$zone")
scratch=$(mktemp -d)
exists=no   # whether something may stand there that costs money
sleeper=''
dry_state=ABSENT
log_offset=0

# For people and for golden tests: words as a shell would read them.
quoted() {
  local word line=''
  for word in "$@"; do
    case $word in
    *[!A-Za-z0-9_./:=,@%+-]* | '') word="'${word//\'/\'\\\'\'}'" ;;
    esac
    line="$line $word"
  done
  printf '%s\n' "${line# }"
}

log() {
  if [ "$dry" = yes ]; then printf '# %s\n' "$*"; else printf '%s tpu_vm: %s\n' "$(date +%H:%M:%S)" "$*" >&2; fi
}

cloud() {
  if [ "$dry" = yes ]; then printf '+ %s\n' "$(quoted gcloud "$@")"; else gcloud "$@"; fi
}

# In the background and waited for, so that a signal is heard at once.
pause() {
  [ "$dry" = no ] || return 0
  sleep "$1" &
  sleeper=$!
  wait "$sleeper" || true
  sleeper=''
}

on_exit() {
  local status=$?
  trap - EXIT INT TERM
  [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null || true
  rm -rf "$scratch"
  if [ "$exists" = yes ] && [ "$dry" = no ]; then
    local me="launch/tpu_vm.sh --name=$name ${where[*]}"
    {
      echo "$name in $zone of $project may still be there, and then it costs money until it is deleted."
      echo "  keep watching (or start again): the same call once more"
      echo "  stop the run after it has saved: $me --stop"
      echo "  delete:                          $me --delete"
    } >&3
  fi
  exit "$status"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the slice ------------------------------------------------------------------------------------------------------

first_error() { grep -m 1 ERROR "$scratch/error" || grep -m 1 . "$scratch/error" || echo "gcloud did not say why"; }

describe() { # kind, field: sets state; ABSENT where there is none
  local tries=0
  if [ "$dry" = yes ]; then
    cloud compute tpus "$1" describe "$name" "${where[@]}" "--format=value($2)"
    state=$dry_state
    return
  fi
  until state=$(cloud compute tpus "$1" describe "$name" "${where[@]}" "--format=value($2)" 2>"$scratch/error"); do
    if grep -qiE 'not[ _]found' "$scratch/error"; then
      state=ABSENT
      return
    fi
    [ $((tries += 1)) -lt 5 ] || die 1 "cannot ask for $name: $(first_error)"
    pause "$poll"
  done
  state=${state:-UNKNOWN}
}

describe_node() { describe tpu-vm state; }

describe_slice() {
  if [ "$queued" = yes ]; then
    describe queued-resources state.state
    [ "$dry" = no ] || return 0
    if [ "$state" = ACTIVE ]; then
      describe_node
      # an active request without a node has nothing left to give
      [ "$state" != ABSENT ] || state=SUSPENDED
    fi
  else
    describe_node
  fi
}

# 0: created. 1: no capacity now, or somebody else was quicker: ask again. Anything else stops here.
create() {
  local kind=tpu-vm flags=("--accelerator-type=$accelerator" "--version=$version")
  if [ "$queued" = yes ]; then
    kind=queued-resources flags=("--node-id=$name" "--accelerator-type=$accelerator" "--runtime-version=$version")
  fi
  [ "$spot" = no ] || flags+=(--spot)
  flags+=(${create_flags[@]+"${create_flags[@]}"})
  log "creating $name: $accelerator in $zone"
  exists=yes
  if [ "$dry" = yes ]; then
    cloud compute tpus "$kind" create "$name" "${where[@]}" "${flags[@]}"
    dry_state=READY
    return
  fi
  if cloud compute tpus "$kind" create "$name" "${where[@]}" "${flags[@]}" 2>"$scratch/error"; then
    return
  fi
  cat "$scratch/error" >&2
  if grep -qiE 'quota' "$scratch/error"; then
    exists=no
    die 1 "no quota for $accelerator in $zone of $project: ask for more, or choose another zone or type"
  fi
  # the TPU service's words for a stock-out; its status code 8 is RESOURCE_EXHAUSTED
  if ! grep -qiE 'RESOURCE_EXHAUSTED|"?code"?: *8\b|no more capacity|stock-?out|ALREADY_EXISTS' "$scratch/error"; then
    die 1 "cannot create $name: $(first_error)"
  fi
  return 1
}

remove() {
  log "deleting $name"
  if [ "$queued" = yes ]; then
    cloud compute tpus queued-resources delete "$name" "${where[@]}" --force || true
  else
    cloud compute tpus tpu-vm delete "$name" "${where[@]}" || true
  fi
}

# Returns when the slice is ready, however long that takes. found: yes where nothing had to be created for it.
ensure_slice() {
  local back_off=$poll last=''
  found=yes
  while :; do
    describe_slice
    [ "$state" = ABSENT ] || exists=yes
    [ "$state" = "$last" ] || log "$name is ${state}"
    last=$state
    case $state in
    READY) return ;;
    ABSENT)
      found=no
      if create; then
        back_off=$poll
        [ "$queued" = no ] || pause "$poll"
      else
        log "no capacity; next try in $back_off s"
        pause "$back_off"
        back_off=$((back_off * 2 < 900 ? back_off * 2 : 900))
      fi
      ;;
    STOPPED)
      log "starting $name"
      cloud compute tpus tpu-vm start "$name" "${where[@]}" || pause "$poll"
      ;;
    PREEMPTED | TERMINATED | SUSPENDED | FAILED)
      found=no
      remove
      pause "$poll"
      ;;
    *) pause "$poll" ;; # CREATING, WAITING_FOR_RESOURCES, PROVISIONING, REPAIRING, DELETING, ...
    esac
  done
}

# --- the workers ----------------------------------------------------------------------------------------------------

# The remote shell takes the words apart again: printf %q puts them together so that they come out as they went in.
on_workers() { # all or a number, then words for tpu_worker.sh
  local worker=$1 line
  shift
  line="bash tpu_worker.sh$(printf ' %q' "$@")"
  cloud compute tpus tpu-vm ssh "$name" "${where[@]}" "--worker=$worker" ${connect_flags[@]+"${connect_flags[@]}"} "--command=$line"
}

to_workers() { # files
  cloud compute tpus tpu-vm scp "$@" "$name:" "${where[@]}" --worker=all ${connect_flags[@]+"${connect_flags[@]}"}
}

# What git knows of and what it does not ignore, as it lies here, changes included.
pack() {
  if [ "$dry" = yes ]; then
    log "pack this checkout, less what git ignores, into hpa_jax.tar.gz"
    return
  fi
  if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    (cd "$root" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
      if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
    done | COPYFILE_DISABLE=1 tar --null -T - -czf "$scratch/hpa_jax.tar.gz")
  else
    COPYFILE_DISABLE=1 tar -C "$root" --exclude=./.venv --exclude=./data --exclude=./runs -czf "$scratch/hpa_jax.tar.gz" .
  fi
}

# 0: done. 1: the slice is gone. A connection that fails is tried again; what fails on the workers themselves is not.
insist() {
  local tries=0 status=0
  while :; do
    status=0
    "$@" || status=$?
    [ "$status" -ne 0 ] || return 0
    # a start whose connection broke after it had worked
    [ "$status" -ne 3 ] || return 0
    [ "$status" -ne 4 ] || die 1 "the setup line failed on a worker; its last lines stand above"
    describe_node
    [ "$state" = READY ] || return 1
    [ $((tries += 1)) -lt 5 ] || die 1 "gave up after $tries tries: $(quoted "$@")"
    log "status $status; trying again in $poll s"
    pause "$poll"
  done
}

install() {
  log "installing on all workers of $name"
  if [ -n "$repo" ]; then
    insist on_workers all install clone "$repo" ${ref:+"$ref"}
  else
    pack || die 1 "cannot pack the checkout"
    local tarball=$scratch/hpa_jax.tar.gz
    [ "$dry" = no ] || tarball=hpa_jax.tar.gz
    insist to_workers "$tarball" && insist on_workers all install copy
  fi
}

send_worker_script() {
  local file=$root/launch/tpu_worker.sh
  [ "$dry" = no ] || file=launch/tpu_worker.sh
  insist to_workers "$file"
}

start() {
  log "starting on all workers: $(quoted "${command[@]}")"
  insist on_workers all start "$setup" -- "${command[@]}"
}

# Asks every worker. Sets running, ended, lost, stopped (how many of each), peers (of the ended, how many for another's sake), again
# (status 75), bad (the first other status but 0; one of the run's own before that of a kill), sums (of the running commands).
# Fails where not every worker could be asked.
look() {
  running=0 ended=0 lost=0 stopped=0 peers=0 again=0 bad=0 sums=''
  if [ "$dry" = yes ]; then
    on_workers all poll
    ended=1
    return
  fi
  on_workers all poll >"$scratch/poll" 2>"$scratch/error" || return 1
  local word number
  while read -r _ word number; do
    case $word in
    running) running=$((running + 1)) sums="$sums $number" ;;
    exit)
      ended=$((ended + 1))
      case $number in
      0) ;;
      75) again=1 ;;
      *) if [ "$bad" -eq 0 ] || { [ "$bad" -gt 128 ] && [ "$number" -le 128 ]; }; then bad=$number; fi ;;
      esac
      ;;
    peer) ended=$((ended + 1)) peers=$((peers + 1)) ;;
    stopped) stopped=$((stopped + 1)) ;;
    *) lost=$((lost + 1)) ;; # no run, or one that a reboot took
    esac
  done < <(grep -o 'HPA_JAX_RUN [a-z]* [0-9]*' "$scratch/poll")
  [ $((running + ended + lost + stopped)) -gt 0 ]
}

# The first worker's log, from where we were. gcloud's own words go to stderr and do not count.
follow_log() {
  if [ "$dry" = yes ]; then
    on_workers 0 log "$log_offset"
    return
  fi
  local bytes=1000000
  while [ "$bytes" -ge 1000000 ]; do # as much as one call gives
    on_workers 0 log "$log_offset" >"$scratch/log" 2>/dev/null || return 0
    cat "$scratch/log"
    bytes=$(wc -c <"$scratch/log")
    log_offset=$((log_offset + bytes))
  done
}

# Watches until something has to be done. Sets outcome: done (with status), again, gone or stopped.
watch() {
  local failures=0 stragglers=0
  while :; do
    pause "$poll"
    if ! look; then
      describe_node
      if [ "$state" != READY ]; then
        outcome=gone
        return
      fi
      [ $((failures += 1)) -lt 20 ] || die 1 "$name is READY and cannot be reached: $(first_error)"
      continue
    fi
    failures=0
    follow_log
    if [ "$running" -gt 0 ]; then
      [ $((ended + lost + stopped)) -gt 0 ] || continue
      # a worker has ended and others hang: they have ten looks to notice
      if [ $((stragglers += 1)) -ge 10 ]; then
        log "ending the workers that are left"
        on_workers all kill >/dev/null 2>&1 || true
      fi
      continue
    fi
    status=$bad
    if [ "$stopped" -gt 0 ]; then
      outcome=stopped
    elif [ "$peers" -gt 0 ] && { [ "$bad" -eq 0 ] || [ "$bad" -gt 128 ]; }; then
      # a process died or hung, and the others reported it
      outcome=again
      describe_node
      [ "$state" = READY ] || outcome=gone
      losses=$((losses + 1))
      [ "$losses" -le "$max_losses" ] || die 1 "a process died or hung for time $losses (--max-losses): giving up; see the log"
    elif [ "$lost" -gt 0 ] || [ "$again" -eq 1 ]; then
      outcome=again
    else
      outcome='done'
      # a worker that is taken away fails its peers before the slice is called preempted
      if [ "$status" -ne 0 ]; then
        describe_node
        [ "$state" = READY ] || outcome=gone
      fi
    fi
    return
  done
}

# Whether this very command runs there already; another one is not disturbed.
attached() {
  [ "$found" = yes ] && [ "$dry" = no ] || return 1
  look || return 1
  # what earlier runs wrote is not shown again
  log_offset=$(on_workers 0 size 2>/dev/null || echo 0)
  [ "$running" -gt 0 ] || return 1
  local own sum
  own=$(printf '%s\0' "${command[@]}" | cksum | cut -d ' ' -f 1)
  for sum in $sums; do
    [ "$sum" = "$own" ] || die 2 "$name is running another command: stop it with --stop, or choose another --name"
  done
  log_offset=$((log_offset > 4096 ? log_offset - 4096 : 0))
  log "attached to the run that is going on $name"
}

count_restart() {
  restarts=$((restarts + 1))
  [ "$restarts" -le "$max_restarts" ] || die 1 "started again $max_restarts times (--max-restarts): giving up"
}

run() {
  restarts=0 losses=0
  while :; do
    ensure_slice
    log_offset=0
    send_worker_script || { count_restart && continue; }
    if ! attached; then
      install || { count_restart && continue; }
      start || { count_restart && continue; }
    fi
    watch
    while [ "$outcome" = again ]; do
      count_restart
      log "the run wants to be started again (restart $restarts)"
      if start; then watch; else outcome=gone; fi
    done
    [ "$outcome" = gone ] || break
    count_restart
    log "$name is gone (restart $restarts)"
  done
  if [ "$outcome" = stopped ]; then
    log "the run was stopped"
    exit 75
  fi
  log "finished with status $status"
  if [ "$dry" = yes ]; then
    log "on status 75: start again there. On PREEMPTED, TERMINATED, SUSPENDED or FAILED: delete, create, install, start again"
    log "on any other status: pass it on"
  fi
  if [ "$status" -eq 0 ] && [ "$delete_when_done" = yes ]; then
    remove
    exists=no
  fi
  exit "$status"
}

case $action in
run) run ;;
stop)
  exists=yes
  on_workers all stop
  log "the run on $name has stopped"
  ;;
delete)
  # whichever there is; a queued resource takes its node with it
  exists=yes failed=no
  for queued in yes no; do
    if [ "$queued" = yes ]; then describe queued-resources state.state; else describe_node; fi
    [ "$state" != ABSENT ] || [ "$dry" = yes ] || continue
    if [ "$queued" = yes ]; then
      cloud compute tpus queued-resources delete "$name" "${where[@]}" --force || failed=yes
    else
      cloud compute tpus tpu-vm delete "$name" "${where[@]}" || failed=yes
    fi
  done
  [ "$failed" = no ] || die 1 "$name could not be deleted: look at https://console.cloud.google.com/compute/tpus"
  exists=no
  log "$name is deleted"
  ;;
esac
