#!/usr/bin/env bash
# Everything on this machine, from a fresh clone: needs Python 3.11 to 3.13 and nothing else.
#
#   launch/local.sh quickstart            install, draw the synthetic dataset, train on it, evaluate, export, make a page
#   launch/local.sh test [--all] [ARG..]  install, run the tests (--all: the slow ones too); ARGs go to pytest
#   launch/local.sh train ARG..           install, then python -m hpa_jax.main ARG.., started again when it exits with 75
#   launch/local.sh plan ARG..            install, also the compilers, then python -m hpa_jax.main --mode=plan ARG..
#   launch/local.sh docs                  build the documentation into build/site; a dead link or a missing name fails
#   launch/local.sh setup                 install only
#
# Installs into .venv from the lock that fits the machine (cuda with an NVIDIA driver, tpu on a TPU VM, else cpu);
# HPA_LOCK=cpu|cuda|tpu overrides, PYTHON=... names the interpreter; HPA_HUGE_PAGES=0: no huge pages for memory.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $1" >&2
  exit 2
}

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 to 3.13 found; install one, or name it: PYTHON=/path/to/python3.12 launch/local.sh ..."
}

pick_lock() {
  if [ -n "${HPA_LOCK:-}" ]; then
    echo "$HPA_LOCK"
  elif nvidia-smi -L >/dev/null 2>&1; then
    echo cuda
  elif compgen -G '/dev/accel[0-9]*' >/dev/null || [ -n "${TPU_NAME:-}${TPU_WORKER_ID:-}" ]; then
    echo tpu
  else
    echo cpu
  fi
}

# install_into FOLDER LOCK [PROJECT]: a virtual environment with the locked packages and, unless PROJECT is "without",
# this package; does nothing where that is installed already. What was interrupted is gone on with.
install_into() {
  local folder=$1 file=$2 project=${3:-with} stamp interpreter
  stamp=$(cat "$file" pyproject.toml | cksum)
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$stamp" ] || return 0
  interpreter=$(find_python)
  mkdir -p "$folder" 2>/dev/null || fail "cannot write to $PWD: copy this checkout to a folder that you may write to"
  # Two at a time would be in each other's way; macOS has no flock.
  exec 9>"$folder/.installing"
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    echo "somebody else is installing into $folder: waiting ..." >&2
    flock 9
  fi
  if [ "$(cat "$folder/installed" 2>/dev/null)" != "$stamp" ]; then
    echo "installing the locked packages of $file into $folder (a minute or two) ..." >&2
    trap 'echo "stopped while installing: the same command goes on with it" >&2; exit 130' INT
    # An interrupted start leaves an interpreter without pip.
    "$folder/bin/python" -m pip --version >/dev/null 2>&1 || make_environment "$interpreter" "$folder"
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$file"
    [ "$project" = without ] ||
      "$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$stamp" >"$folder/installed"
    trap - INT
  fi
  exec 9>&-
}

# make_environment PYTHON FOLDER: python -m venv, which Ctrl-C ends without a traceback.
make_environment() {
  "$1" -c 'import runpy, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
runpy.run_module("venv", run_name="__main__")' "$2"
}

build_docs() {
  install_into .venv/docs requirements/docs.lock without
  NO_MKDOCS_2_WARNING=1 .venv/docs/bin/python -m mkdocs build --quiet --strict --site-dir build/site
}

setup() {
  local lock
  lock=$(pick_lock)
  [ -f "requirements/$lock.lock" ] || fail "HPA_LOCK=$lock: no requirements/$lock.lock; choose cpu, cuda or tpu"
  install_into .venv "requirements/$lock.lock"
  python=.venv/bin/python
  main=("$python" -m hpa_jax.main)
  # Memory in huge pages: otherwise the program would start itself once more for them.
  if [ "$lock" = cpu ] && [ "$(uname -s)" = Linux ] && [ "${HPA_HUGE_PAGES:-}" != 0 ] && [ -z "${GLIBC_TUNABLES:-}" ]; then
    main=(env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "${main[@]}")
  fi
}

# install_compiler tpu|cuda: a compiler for devices that are not there, into .venv/NAME; beside the packages, not among
# them: where it can be imported, JAX looks for such devices at every start. For GPUs that is JAX's plugin alone.
install_compiler() {
  local name=$1 packages='libtpu'
  [ "$name" = tpu ] || packages='jax-cuda13-plugin\|jax-cuda13-pjrt'
  [ "$(uname -sm)" = "Linux x86_64" ] && [ ! -d ".venv/$name" ] || return 0
  echo "installing the compiler for $name devices into .venv/$name ..." >&2
  rm -rf ".venv/$name.part"
  # shellcheck disable=SC2046
  $python -m pip install -qq --disable-pip-version-check --no-deps --target ".venv/$name.part" \
    $(grep -o "^\($packages\)==[0-9.]*" "requirements/$name.lock")
  mv ".venv/$name.part" ".venv/$name"
}

# The compilers that a plan of these arguments needs; none for the devices at hand.
install_compilers() {
  local argument name names=v5e:2x4
  case " $* " in
    *" --mode=plan "* | *" --mode plan "*) ;;
    *) return 0 ;;
  esac
  for argument in "$@"; do
    case "$argument" in --config.plan.topologies=*) names=${argument#*=} ;; esac
  done
  for name in ${names//,/ }; do
    case "$name" in
      here) ;;
      v[0-9]*x* | tpu*) install_compiler tpu ;;
      *) install_compiler cuda ;;
    esac
  done
}

# install_buckets [ARG..]: what paths gs://BUCKET/FOLDER need, if an argument or a variable has one.
install_buckets() {
  case " $* ${JAX_COMPILATION_CACHE_DIR:-}" in
    *gs:/*) ;;
    *) return 0 ;;
  esac
  $python -c 'import google.cloud.storage' 2>/dev/null && return 0
  echo "installing the locked packages of requirements/gcs.lock into .venv ..." >&2
  $python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/gcs.lock
}

# Runs the trainer and starts it again when it was stopped from outside after saving. A signal that reaches this script
# is the user's: it is passed on and ends both.
run_until_finished() {
  local status stopped=
  trap 'stopped=1' INT
  trap 'stopped=1; kill -TERM "$child" 2>/dev/null || true' TERM
  while :; do
    "${main[@]}" "$@" &
    child=$!
    status=0
    wait "$child" || status=$?
    # A trapped signal ends `wait` early: wait again for the child's own status.
    while kill -0 "$child" 2>/dev/null; do
      status=0
      wait "$child" || status=$?
    done
    if [ "$status" -ne 75 ] || [ -n "$stopped" ]; then
      trap - INT TERM
      return "$status"
    fi
    # To stdout: where its reader is gone, which is why the run has stopped, this ends the script too.
    echo "exit status 75: starting again"
  done
}

quickstart() {
  local started=$SECONDS installed
  setup
  installed=$SECONDS
  echo "== 1/6 drawing the synthetic dataset"
  $python -m tfds_builder.hpa --config=synthetic --data_dir=data | sed -n 1p
  echo "== 2/6 training DenseNet-121"
  run_until_finished --config=configs/quickstart.py --workdir=runs/quickstart
  echo "== 3/6 evaluating the best checkpoint on images that it was not trained on"
  "${main[@]}" --mode=evaluate --workdir=runs/quickstart --config.data.eval_split=test
  echo "== 4/6 a baseline without a net: logistic regression on intensity histograms of the same images"
  $python benchmarks/histogram_baseline.py --data_dir=data --dataset=synthetic --workdir=runs/quickstart
  echo "== 5/6 exporting"
  "${main[@]}" --mode=export --workdir=runs/quickstart
  echo "== 6/6 making a page that runs the net in a browser"
  local page="Here is your page: open it in a browser, and drop the images of a field on it.
  $PWD/runs/quickstart/page.html"
  # What it runs the net with comes from npm, which a machine may not have: its line says what to do.
  $python -m hpa_jax.serving page runs/quickstart/export runs/quickstart/page.html ||
    page="There is no page: the line above says why."
  cat <<END

Done in $((SECONDS - started)) s, $((installed - started)) s of them for installing.
  data/hpa/synthetic        the dataset: TFRecords that any TensorFlow program reads
  runs/quickstart           the run: metrics.jsonl, evaluation.json, checkpoints/, thresholds.json
  runs/quickstart/export    the net for others: model.onnx, forward.jaxexport, README.md, model.json
  docs/your_images.md       training on real images
$page
Here is the command for your own folder of images: a table of scores.
  .venv/bin/python -m hpa_jax.serving predict runs/quickstart/export DIR --out=scores.csv
END
}

run_tests() {
  local slow=(-m "not slow")
  setup
  if [ "${1:-}" = --all ]; then
    slow=()
    shift
    install_into .venv/beam requirements/beam.lock
    install_compiler cuda
  fi
  $python -c 'import torch' 2>/dev/null || $python -m pip install -qq --disable-pip-version-check torch==2.13.0
  # Its nets are compared with. Of each version's wheels one fits one PyTorch; what it depends on is there.
  $python -c 'import importlib.metadata as packages; packages.version("torchvision")' 2>/dev/null ||
    $python -m pip install -qq --disable-pip-version-check --no-deps torchvision==0.28.0
  # Networks in PyTorch to compare with; of what it depends on, those need PyTorch and NumPy alone.
  $python -c 'import monai' 2>/dev/null || $python -m pip install -qq --disable-pip-version-check --no-deps monai==1.6.1
  install_compiler tpu
  install_buckets gs://
  $python -m ruff check .
  $python -m ruff format --check --quiet .
  $python -m bandit --quiet --configfile pyproject.toml --recursive benchmarks configs hpa_jax setup.py tfds_builder
  build_docs
  # Two at a time: most tests wait for a compiler that uses one core. The tests of a file share what they prepare.
  exec $python -m pytest --numprocesses="${HPA_TEST_PROCESSES:-2}" --dist=loadfile "${slow[@]}" "$@"
}

case "${1:-}" in
  quickstart) [ $# -eq 1 ] || fail "quickstart takes no arguments"; quickstart ;;
  test) shift; run_tests "$@" ;;
  train | plan)
    [ "$1" = train ] || set -- "$@" --mode=plan
    shift
    setup
    install_compilers "$@"
    install_buckets "$@"
    run_until_finished "$@"
    ;;
  docs)
    [ $# -eq 1 ] || fail "docs takes no arguments"
    build_docs
    echo "wrote build/site/index.html"
    ;;
  setup) [ $# -eq 1 ] || fail "setup takes no arguments"; setup ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
