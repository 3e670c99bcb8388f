#!/bin/sh
# Runs a compile command. ptxas only mentions wgmma that it serialises (C7508 and its neighbours): here that is an error.
output=$("$@" 2>&1)
status=$?
[ -z "$output" ] || printf '%s\n' "$output" >&2
[ $status -eq 0 ] || exit $status
case "$output" in
  *"(C7508)"* | *"(C7509)"* | *"(C751"[0-9]")"*)
    echo "error: ptxas serialises wgmma, see above: accumulators must stay untouched between a product and its wait" >&2
    exit 1
    ;;
esac
