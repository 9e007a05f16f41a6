#!/usr/bin/env bash
# A Docker engine and a base image where there is none and no registry can be reached: Debian's packages alone. Root only.
#   docker/local-engine.sh up     install and start an engine unless one answers; make the base image
#   docker/local-engine.sh down   stop the engine that `up` started and remove what it kept
# The base image stands for python:3.12-slim in tests: --build-arg BASE_IMAGE=research-agent-test-base:trixie.
set -euo pipefail
cd "$(dirname "$0")/.."
HOME_DIR=${ENGINE_DIR:-$PWD/.state/engine}
BASE=research-agent-test-base:trixie
SUITE=trixie
# Where this machine's own packages come from, unless told otherwise.
MIRROR=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)}
PACKAGES=python3,python3-venv,git,tmux,ca-certificates,libgomp1
# Sockets lie below it, whose paths must be short.
RUN_DIR=/run/research-agent-engine
WAIT_S=60

say() { echo "local-engine: $*" >&2; }
answers() { docker info >/dev/null 2>&1; }

install() {
  local wanted=()
  command -v dockerd >/dev/null || wanted+=(docker.io iptables)
  command -v debootstrap >/dev/null || wanted+=(debootstrap)
  [ ${#wanted[@]} -eq 0 ] && return
  [ "$(id -u)" = 0 ] || { say "needs root to install ${wanted[*]}"; exit 3; }
  say "installing ${wanted[*]} …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null
}

start() {
  answers && { say "an engine answers already"; return; }
  install
  mkdir -p "$HOME_DIR"
  say "starting dockerd (log: $HOME_DIR/dockerd.log) …"
  setsid dockerd --data-root "$HOME_DIR/data" --exec-root $RUN_DIR --pidfile $RUN_DIR.pid \
    >"$HOME_DIR/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq $WAIT_S); do answers && return; sleep 1; done
  say "dockerd did not come up within $WAIT_S s; the end of its log:"
  tail -n 20 "$HOME_DIR/dockerd.log" >&2
  exit 1
}

base() {
  docker image inspect "$BASE" >/dev/null 2>&1 && return
  install
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  say "making the base image $BASE from Debian $SUITE …"
  debootstrap --variant=minbase --include=$PACKAGES $SUITE "$root" "$MIRROR" >"$HOME_DIR/debootstrap.log" 2>&1 ||
    { tail -n 20 "$HOME_DIR/debootstrap.log" >&2; exit 1; }
  # This machine may reach packages through a proxy with a certificate of its own.
  [ -r /etc/ssl/certs/ca-certificates.crt ] && cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | docker import --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' - "$BASE" >/dev/null
}

stop() {
  [ -f $RUN_DIR.pid ] || { say "no engine was started here"; return; }
  docker ps -q | xargs -r docker rm -f >/dev/null
  kill "$(cat $RUN_DIR.pid)"
  for _ in $(seq $WAIT_S); do [ -f $RUN_DIR.pid ] || break; sleep 1; done
  rm -rf "$HOME_DIR" $RUN_DIR
}

case ${1:-} in
  up) start; mkdir -p "$HOME_DIR"; base ;;
  down) stop ;;
  *) sed -n 2,5p "$0" >&2; exit 2 ;;
esac
