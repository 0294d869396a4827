//! Named places between two effects, at which a test lets the agent be killed. A release build has none of them.

/// Every place there is, in the order of the operations. A test goes through all of them.
pub const POINTS: [&str; 29] = [
    "request.claimed",
    "request.created",
    "request.noted",
    "request.started",
    "request.let-in",
    "release.written",
    "release.removed",
    "stop.written",
    "stop.ended",
    "stop.keys-taken",
    "start.claimed",
    "move.written",
    "move.made",
    "move.exchanged",
    "move.noted",
    "move.removed",
    "move.renamed",
    "start.started",
    "start.let-in",
    "by-hand.claimed",
    "return.keys-taken",
    "return.started",
    "return.let-in",
    "rename.written",
    "rename.files-written",
    "snapshot.begun",
    "snapshot.made",
    "unsnapshot.written",
    "unsnapshot.removed",
];

/// Kills this process, without a chance to do anything else, where `BERTH_CRASH_AT` names the place.
pub fn point(name: &str) {
    if cfg!(debug_assertions) {
        debug_assert!(POINTS.contains(&name), "{name} is not in the list");
        if std::env::var_os("BERTH_CRASH_AT").is_some_and(|at| at == name) {
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
