# shellcheck shell=bash disable=SC2034
# What scripts/demo and scripts/test share: finding the tools they need and, where it may be done, installing them.

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

jobs=$(nproc 2>/dev/null || echo 2)

# --- what is there ---------------------------------------------------------------------------------------------------------
has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() { # has_header fmt/core.h
  has_command g++ && printf '#if !__has_include(<%s>)\n#error\n#endif\n' "$1" | g++ -x c++ -E - >/dev/null 2>&1
}
has_sanitizers() { # clang's run-time libraries are a package of their own
  local folder ok=0
  has_command clang++ || return 1
  folder=$(mktemp -d)
  for kind in address thread; do
    echo 'int main() {}' | clang++ -fsanitize=$kind -x c++ -o "$folder/a.out" - >/dev/null 2>&1 || ok=1
  done
  rm -rf "$folder"
  return $ok
}

# has PACKAGE: whether what plait uses of this Debian package is there, from wherever it came.
has() {
  case $1 in
    g++ | cmake | ccache | python3) has_command "$1" ;;
    ninja-build) has_command ninja ;;
    clang) has_command clang++ ;;
    libclang-rt-dev) has_sanitizers ;;
    doctest-dev) has_header doctest/doctest.h ;;
    nlohmann-json3-dev) has_header nlohmann/json.hpp ;;
    libxxhash-dev) has_header xxhash.h ;;
    libcli11-dev) has_header CLI/CLI.hpp ;;
    libfmt-dev) has_header fmt/core.h ;;
    libopenblas-dev) has_header cblas.h || has_header openblas/cblas.h ;;
    *) die "no test for package $1" ;;
  esac
}

missing_of() { # prints those of its arguments that are missing
  local package
  for package in "$@"; do
    has "$package" || printf '%s\n' "$package"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_install() {
  has_command apt-get && { [ "$(id -u)" = 0 ] || { has_command sudo && sudo -n true >/dev/null 2>&1; }; }
}

# need PACKAGE...: installs what is missing, or names it and stops.
need() {
  local missing
  mapfile -t missing < <(missing_of "$@")
  if [ ${#missing[@]} -gt 0 ] && may_install; then
    say "installing ${missing[*]}"
    local options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" update || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" || true
    hash -r
    mapfile -t missing < <(missing_of "$@")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    {
      echo "These packages are missing and could not be installed from here (names as in Debian and Ubuntu):"
      echo "  ${missing[*]}"
      echo "For example: sudo apt-get install ${missing[*]}"
    } >&2
    exit 1
  fi
  need_version cmake 3.25 "$(cmake --version | sed -n '1s/[^0-9]*//p')"
  need_version g++ 12 "$(g++ -dumpfullversion)"
}

need_version() { # need_version name wanted found
  if [ "$(printf '%s\n%s\n' "$2" "$3" | sort -V | head -n 1)" != "$2" ]; then
    die "plait needs $1 $2 or newer; here it is $3"
  fi
}

build_packages=(g++ cmake ninja-build nlohmann-json3-dev libxxhash-dev libcli11-dev libfmt-dev libopenblas-dev)
test_packages=("${build_packages[@]}" clang doctest-dev python3)
sanitizer_packages=("${test_packages[@]}" libclang-rt-dev)
