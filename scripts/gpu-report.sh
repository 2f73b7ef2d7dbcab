# gpu-kit.sh and gpu-check.sh source this file. It runs parts, each with a time limit, and writes a report.
#
# After `report_begin FOLDER TITLE`, every `part` appends to FOLDER/report.md and rewrites FOLDER/report.json. So an
# interrupted run keeps the results of its finished parts. `report_end` returns 1 if a part failed.
# shellcheck shell=bash

report_begin() {
    report=$(realpath -m "$1")
    mkdir -p "$report"
    report_title=$2
    report_parts=()
    failures=0
    card="no nvidia-smi"
    if command -v nvidia-smi >/dev/null; then
        card=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | paste -sd ';')
    fi
    printf '# %s\n\n%s, %s, %s CPUs, %s\n' "$report_title" "$(date -u +%Y-%m-%d)" "$card" "$(nproc)" \
        "$(ldd --version 2>&1 | head -1)" >"$report/report.md"
    report_json
}

# Prints a text as a JSON string.
json_string() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//$'\n'/ }"
}

report_json() {
    local separator="" one
    {
        printf '{"title": %s, "date": "%s", "card": %s, "failed": %d, "parts": [' \
            "$(json_string "$report_title")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(json_string "$card")" "$failures"
        for one in "${report_parts[@]}"; do
            printf '%s\n%s' "$separator" "$one"
            separator=,
        done
        printf '\n]}\n'
    } >"$report/report.json"
}

# part LIMIT TITLE COMMAND…: runs the command for at most LIMIT seconds, shows its output immediately, and writes the
# output and the result to the report. The command may write JSON to the file $FIGURES; this goes into report.json.
part() {
    local limit=$1 title=$2 begun=$SECONDS status seconds ended output figures
    shift 2
    output=$(mktemp)
    export FIGURES
    FIGURES=$(mktemp)
    printf '\n== %s (at most %s s)\n' "$title" "$limit"
    timeout -k 5 "$limit" "$@" 2>&1 </dev/null | tee "$output"
    status=${PIPESTATUS[0]}
    seconds=$((SECONDS - begun))
    case $status in
    0) ended="passed" ;;
    124 | 137) ended="cut off at $limit s" ;;
    *) ended="failed with exit code $status" ;;
    esac
    [ "$status" = 0 ] || failures=$((failures + 1))
    printf -- '-- %s: %s, %s s\n' "$title" "$ended" "$seconds"
    {
        printf '\n## %s\n\n%s, %s s.\n\n```text\n' "$title" "${ended^}" "$seconds"
        cat "$output"
        printf '```\n'
    } >>"$report/report.md"
    figures=$(cat "$FIGURES")
    report_parts+=("$(printf '{"title": %s, "ended": %s, "exit_code": %d, "seconds": %d, "limit": %d, "figures": %s}' \
        "$(json_string "$title")" "$(json_string "$ended")" "$status" "$seconds" "$limit" "${figures:-null}")")
    report_json
    rm -f "$output" "$FIGURES"
    return "$status"
}

# left_out TITLE REASON: reports a part that cannot run here.
left_out() {
    printf '\n== %s: not run, %s\n' "$1" "$2"
    printf '\n## %s\n\nNot run: %s.\n' "$1" "$2" >>"$report/report.md"
    report_parts+=("$(printf '{"title": %s, "ended": %s}' "$(json_string "$1")" "$(json_string "not run: $2")")")
    report_json
}

report_end() {
    printf '\n%s of %s parts failed; the report is %s.\n' "$failures" "${#report_parts[@]}" "$report/report.md"
    printf '\n%s of %s parts failed.\n' "$failures" "${#report_parts[@]}" >>"$report/report.md"
    [ "$failures" = 0 ]
}

# ---- A sidecar for a part. $BEAMFLOW is the program. Its socket and logs are in the current folder.

# serve FLAGS…: starts a sidecar and waits until it is ready.
serve() {
    rm -f sock info
    "$BEAMFLOW" "$@" --sock-path "$PWD/sock" --server-info-path "$PWD/info" --http-address off 2>sidecar.log &
    sidecar=$!
    local tries=0
    until [ -e info ]; do
        if ! kill -0 $sidecar 2>/dev/null || [ $((tries += 1)) -gt 1200 ]; then
            echo "the sidecar did not start: $*"
            tail -5 sidecar.log
            kill -9 $sidecar 2>/dev/null
            return 1
        fi
        sleep 0.05
    done
}

# Stops the sidecar; returns its exit code.
stop() {
    kill $sidecar 2>/dev/null
    wait $sidecar
}

# rate SEND_FLAGS…: sends frames; prints frames/s.
rate() {
    if "$BEAMFLOW" send --sock-path "$PWD/sock" "$@" >sent 2>send.log; then
        awk '$1 == "-" { print $3 }' sent
    else
        cat sent send.log sidecar.log >&2
        return 1
    fi
}

# modes ENGINE BENCH COUNT FLAGS…: prints frames/s of the three modes at the sidecar's full rate. Each figure is the median
# of three runs of COUNT frames. It is relative to sequential mode and to the best rate in BENCH, the JSON of
# `bench-engine`. FLAGS go to `send`.
modes() {
    local engine=$1 bench=$2 count=$3 mode run rates best
    local -A median
    shift 3
    for mode in sequential concurrent pipelined; do
        serve --mode $mode --model-path "$engine" --max-concurrent-batches 3 --output-size 64x64 ${SERVE_FLAGS:-} || return 1
        rates=""
        for run in 1 2 3; do
            rates+="$(rate --count "$count" --read-batch 500 "$@")"$'\n' || return 1
        done
        stop || return 1
        median[$mode]=$(sort -n <<<"${rates%$'\n'}" | sed -n 2p)
    done
    best=$(sed -n 's/.*"frames_per_second": \([0-9.]*\).*/\1/p' "$bench" | sort -n | tail -1)
    awk -v s="${median[sequential]}" -v c="${median[concurrent]}" -v p="${median[pipelined]}" -v e="$best" \
        -v file="$FIGURES" 'BEGIN {
        printf "%-12s %10s %18s %14s\n", "mode", "frames/s", "of bench-engine", "of sequential"
        printf "%-12s %10.0f %18.2f %14.2f\n", "sequential", s, s / e, 1
        printf "%-12s %10.0f %18.2f %14.2f\n", "concurrent", c, c / e, c / s
        printf "%-12s %10.0f %18.2f %14.2f\n", "pipelined", p, p / e, p / s
        printf "bench-engine, best: %.0f frames/s\n", e
        printf "{\"sequential\": %.0f, \"concurrent\": %.0f, \"pipelined\": %.0f, \"bench_engine\": %.0f}", s, c, p, e >file
    }'
}
export -f serve stop rate modes
