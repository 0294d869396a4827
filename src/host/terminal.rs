//! The terminal that results go to, where there is one.

use rustix::termios::tcgetwinsize;
use std::io::stdout;

/// How many columns it has; nothing for a pipe or a file, or where the terminal does not know.
pub fn columns() -> Option<u16> {
    tcgetwinsize(stdout()).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Whether text may have colour and move the cursor: not where somebody asked for none, or a terminal cannot do it.
pub fn takes_codes() -> bool {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !asked_for_none && !is_dumb()
}

/// A terminal that can do nothing but print.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
