#!/usr/bin/env bash
# Prints the crates that are in the program with their licences, and the texts of these licences:
#   scripts/third-party-notices.sh FEATURES > THIRD-PARTY.txt
# The texts are those in the crates' packages, each printed once, before it the crates that have it. Needs only Cargo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
features=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/texts" "$work/users"

# NAME VERSION LICENCE of each crate that is compiled into the program; a path is a crate of this repository.
cargo tree --locked --edges normal --prefix none --no-dedupe --features "$features" --format '{p}|{l}' |
    sed -n '/(\//!s/^\([^ |]*\) v\([^ |]*\)[^|]*|\(.*\)$/\1 \2 \3/p' | sort -u > "$work/crates"

registries=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/)
echo "beamflow contains these crates, from https://crates.io."
echo
: > "$work/without"
while read -r name version licence; do
    printf '%-40s %s\n' "$name $version" "${licence:-see its text below}"
    found=
    for registry in "${registries[@]}"; do
        package=$registry$name-$version
        [ -d "$package" ] || continue
        while read -r file; do
            sum=$(tr -d '\r' < "$file" | sha256sum | cut -d ' ' -f 1)
            [ -e "$work/texts/$sum" ] || tr -d '\r' < "$file" > "$work/texts/$sum"
            grep -qxF "$name $version" "$work/users/$sum" 2>/dev/null || echo "$name $version" >> "$work/users/$sum"
            found=yes
        done < <(find "$package" -maxdepth 4 -type f \
            \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'copyright*' \) \
            ! -name '*.rs' ! -name '*.py' | sort)
        break
    done
    [ -n "$found" ] || echo "$name $version: ${licence:-none}" >> "$work/without"
done < "$work/crates"

if [ -s "$work/without" ]; then
    printf '\nThe packages of these crates have no licence text; https://spdx.org/licenses has it by the name.\n\n'
    cat "$work/without"
fi
for users in "$work"/users/*; do
    printf '\n%s\n' "================================================================================"
    paste -s -d , "$users" | sed 's/,/, /g'
    printf '\n'
    cat "$work/texts/$(basename "$users")"
done
