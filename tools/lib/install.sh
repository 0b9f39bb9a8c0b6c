#!/usr/bin/env bash
# Installs the Debian packages that a tool needs, quietly, and only what is missing.
#
#   . tools/lib/install.sh; need mkfs.xfs:xfsprogs sfdisk:fdisk   # in a bash script
#   tools/lib/install.sh mkfs.xfs:xfsprogs :python3-venv          # from anything else
#
# Each argument is COMMAND:PACKAGE, or :PACKAGE for a package without a command of its own.
# Where it may not install (not root), it names what is missing and fails.

# Debian keeps mkfs and sfdisk in sbin, which an ordinary user's PATH lacks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

have() { # COMMAND:PACKAGE
  local command=${1%%:*} package=${1#*:}
  if [ -n "$command" ]; then
    command -v "$command" >/dev/null 2>&1
  else
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ]
  fi
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -y \
    install --no-install-recommends "$@" </dev/null
}

need() {
  local want packages=() log
  for want in "$@"; do
    have "$want" || packages+=("${want#*:}")
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing Debian packages; as root: apt-get install ${packages[*]}" >&2
    return 1
  fi
  log=$(mktemp)
  # A fresh or old package list is the usual reason for a failure, so only then is it fetched.
  if ! apt_install "${packages[@]}" >"$log" 2>&1; then
    if ! { apt-get -qq update && apt_install "${packages[@]}"; } >"$log" 2>&1; then
      cat "$log" >&2
      rm -f "$log"
      echo "could not install: ${packages[*]}" >&2
      return 1
    fi
  fi
  rm -f "$log"
  for want in "$@"; do
    have "$want" || { echo "${want%%:*} is still missing after installing ${want#*:}" >&2; return 1; }
  done
}

# What cargo build needs: Rust itself, and a C compiler for zstd and the cryptography.
need_rust() {
  export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with rustup (https://rustup.rs), then run this again" >&2
    return 1
  fi
  need cc:gcc :libc6-dev
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  need "$@"
fi
