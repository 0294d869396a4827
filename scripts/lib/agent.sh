# shellcheck shell=bash
# One agent with a directory of its own: its config, its start and its stop. Needs say.sh.
#
# Uses NODE_DIR, the directory: berth (the program), berth.toml, agent.log, agent.pid, state/, run/, storage/, keys/.

berth() { "$NODE_DIR/berth" --config "$NODE_DIR/berth.toml" "$@"; }

# write_config ROOT DOCKER_SOCKET: paths in it are relative to itself.
write_config() {
    cat >"$NODE_DIR/berth.toml" <<TOML
# Written by scripts/quickstart. A simulated node: remove \`profile\` on a real one.
profile = "$1/profiles/sim.toml"
[paths]
state    = "state"
run      = "run"
storage  = "storage"
images   = "images.toml"
profiles = "$1/profiles"
[docker]
socket = "$2"
# The firewall of a machine that only tries it stays as it is between containers.
between-berths = "open"
[ssh]
ports   = "22000-22099"
address = "127.0.0.1"
host    = "127.0.0.1"
gateway = ""
TOML
}

# install_berth PROGRAM: the agent runs a copy, so that a build does not pull the program from under it.
install_berth() {
    if ! cmp -s "$1" "$NODE_DIR/berth"; then
        stop_agent
        install -m 0755 "$1" "$NODE_DIR/berth"
    fi
}

agent_answers() { berth list >/dev/null 2>&1; }

start_agent() {
    if agent_answers; then
        return
    fi
    say "starting the agent (log: ${SHOWN_DIR:-$NODE_DIR}/agent.log)"
    setsid "$NODE_DIR/berth" --config "$NODE_DIR/berth.toml" agent >>"$NODE_DIR/agent.log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid" >"$NODE_DIR/agent.pid"
    wait_until 60 agent_settled "$pid" || true
    if ! agent_answers; then
        tail -n 20 "$NODE_DIR/agent.log" >&2
        berth list >/dev/null || true # says why on standard error
        die "the agent does not answer; its log: $NODE_DIR/agent.log"
    fi
}

# It answers, or it has ended: both end the wait.
agent_settled() {
    agent_answers || ! kill -0 "$1" 2>/dev/null
}

stop_agent() {
    local pid
    pid=$(cat "$NODE_DIR/agent.pid" 2>/dev/null) || return 0
    # A pid in a file may be somebody else's by now.
    if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$NODE_DIR/berth.toml"; then
        say "stopping the agent"
        kill "$pid"
        wait_until 30 process_ended "$pid" || die "the agent (process $pid) does not end"
    fi
    rm -f "$NODE_DIR/agent.pid"
}

# json_value KEY JSON: the first value of that key that is a string or a number.
json_value() {
    sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$2" | sed -n 1p
}
