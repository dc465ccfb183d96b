# shellcheck shell=bash disable=SC2034
# Shared by the scripts beside this file; sourced, never run.

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# fail SENTENCE [REMEDY...]: what went wrong on the first line, how to go on below it.
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

# version_at_least FOUND WANTED: compares dotted numbers.
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# package_known PACKAGE MINIMUM: exit status 0 if apt could fetch such a version.
package_known() {
  local version
  while read -r version; do
    version=${version#*:}
    ! version_at_least "${version%%[-+~]*}" "$2" || return 0
  done < <(apt-cache madison "$1" 2>/dev/null | awk '{ print $3 }')
  return 1
}

# The guest's kernel: downloaded by images/build, so apt only has to know it.
guest_kernel=linux-image-cloud-amd64
oldest_guest_kernel=6.12

# as_owner COMMAND...: a build that root starts in somebody's checkout runs as that somebody,
# so that target/ and the cargo registry stay theirs.
as_owner() {
  local owner
  owner=$(stat -c %U "$root_dir")
  if [ "$(id -u)" -eq 0 ] && [ "$owner" != root ] && [ "$owner" != UNKNOWN ]; then
    runuser -u "$owner" -- env "HOME=$(getent passwd "$owner" | cut -d: -f6)" "PATH=$PATH" "$@"
  else
    "$@"
  fi
}

# Adds rustup's usual folder to PATH when cargo is not on it (sudo drops it).
find_cargo() {
  local user home
  command -v cargo >/dev/null && return 0
  for user in "$(id -un)" "${SUDO_USER:-}" "$(stat -c %U "$root_dir")"; do
    [ -n "$user" ] || continue
    home=$(getent passwd "$user" | cut -d: -f6) || continue
    [ -x "$home/.cargo/bin/cargo" ] || continue
    export PATH="$home/.cargo/bin:$PATH"
    return 0
  done
  return 1
}

# The directory of the built binaries and of all logs; honours CARGO_TARGET_DIR.
target_dir=${CARGO_TARGET_DIR:-$root_dir/target}
