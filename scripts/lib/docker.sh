# shellcheck shell=bash
# Finds a Docker Engine that runs, or starts one; stops only one that it started. Needs say.sh, packages.sh.
#
# An engine of our own is described by two directories: what it keeps (DIR) and what lives as long as it runs
# (under /run, because the path of a unix socket has at most 107 bytes). Two engines on one machine would fight over
# the bridge docker0, so one that answers is always preferred, whoever started it.

# docker_answers SOCKET
docker_answers() {
    [ -S "$1" ] && [ "$(curl -s --max-time 3 --unix-socket "$1" http://localhost/_ping 2>/dev/null)" = OK ]
}

# find_docker: prints the socket of an engine that answers.
find_docker() {
    local socket
    while read -r socket; do
        if docker_answers "$socket"; then
            echo "$socket"
            return
        fi
    done < <(likely_docker_sockets)
    return 1
}

likely_docker_sockets() {
    case "${DOCKER_HOST:-}" in
    unix://*) echo "${DOCKER_HOST#unix://}" ;;
    esac
    echo /var/run/docker.sock
    local process
    for process in /proc/[0-9]*; do
        [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] || continue
        tr '\0' '\n' <"$process/cmdline" 2>/dev/null | sed -n 's#^\(-H=\|--host=\|\)unix://##p'
    done
}

# ensure_docker DIR: sets DOCKER_SOCKET to an engine's socket, starting one where none answers.
ensure_docker() {
    if ! DOCKER_SOCKET=$(find_docker); then
        say "starting the Docker Engine"
        mkdir -p "$1"
        echo "$$" >"$1/started-by"
        if [ -d /run/systemd/system ]; then
            start_docker_service "$1"
        else
            start_own_docker "$1"
        fi
    fi
}

start_docker_service() {
    DOCKER_SOCKET=/var/run/docker.sock
    systemctl start docker || die "systemd could not start docker; see: journalctl -u docker"
    touch "$1/service-started"
    wait_until 60 docker_answers "$DOCKER_SOCKET" || die "the Docker Engine does not answer at $DOCKER_SOCKET"
}

docker_run_directory() {
    echo "/run/berth-docker-$(cksum <<<"$1" | cut -d' ' -f1)"
}

start_own_docker() {
    local keep=$1 run
    run=$(docker_run_directory "$keep")
    is_root || die "starting a Docker Engine needs root"
    require_cgroups
    mkdir -p "$keep"
    mkdir -p "$run"
    DOCKER_SOCKET="$run/docker.sock"
    # Extra arguments exist for machines where another engine holds docker0.
    local extra
    read -ra extra <<<"${BERTH_DOCKERD_ARGS:-}"
    # A config of its own: what the machine's says is for the machine's engine. runc-rig lets tests start privileged
    # containers where root has not every capability.
    echo "{\"runtimes\": {\"rig\": {\"path\": \"$ROOT/scripts/lib/runc-rig\"}}}" >"$run/daemon.json"
    setsid "$(find_program dockerd)" --data-root "$keep/data" --exec-root "$run/exec" --pidfile "$run/pid" \
        --config-file "$run/daemon.json" \
        -H "unix://$DOCKER_SOCKET" "${extra[@]}" >"$keep/dockerd.log" 2>&1 </dev/null &
    local pid=$!
    wait_until 60 docker_settled "$pid" || true
    if ! docker_answers "$DOCKER_SOCKET"; then
        tail -n 20 "$keep/dockerd.log" >&2
        kill "$pid" 2>/dev/null || true
        die "dockerd does not answer at $DOCKER_SOCKET; its log: $keep/dockerd.log"
    fi
}

# It answers, or it has ended: both end the wait.
docker_settled() {
    docker_answers "$DOCKER_SOCKET" || ! kill -0 "$1" 2>/dev/null
}

require_cgroups() {
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/devices ] ||
        die "no cgroups at /sys/fs/cgroup, so containers cannot run; mount them (Debian: install and run cgroupfs-mount)"
}

# stop_docker DIR: stops the engine that ensure_docker DIR started; any other is left alone.
stop_docker() {
    local keep=$1 run pid
    if [ -e "$keep/service-started" ]; then
        say "stopping the Docker service"
        systemctl stop docker.socket docker.service
        rm -f "$keep/service-started" "$keep/started-by"
    fi
    run=$(docker_run_directory "$keep")
    pid=$(cat "$run/pid" 2>/dev/null) || return 0
    # A pid in a file may be somebody else's by now.
    if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$run/pid"; then
        say "stopping the Docker Engine"
        kill "$pid"
        wait_until 30 process_ended "$pid" || die "dockerd (process $pid) does not end"
    fi
    rm -rf "$run" "$keep/started-by"
}

# stop_docker_after_run DIR: the same, but leaves an engine that another run of a script started and still needs.
stop_docker_after_run() {
    local by
    by=$(cat "$1/started-by" 2>/dev/null) || return 0
    if [ "$by" = "$$" ] || ! kill -0 "$by" 2>/dev/null; then
        stop_docker "$1"
    fi
}

# Ended, or ended and not yet collected by its parent.
process_ended() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "$state" = Z ]
}
