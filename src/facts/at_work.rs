//! Whether `berth bootstrap` runs on this node or waits for a reboot: then no request gets cards.

use crate::error::Fault;
use crate::host::{Host, lock, read_text, sysctl};
use std::io::ErrorKind;
use std::path::Path;

/// The file in bootstrap's directory that names the boot that must end.
pub const MARKER: &str = "resume";

/// Fails while a bootstrap runs on the node, or has installed a driver that needs a reboot.
pub fn check_not_at_work(host: &dyn Host, state: &Path) -> Result<(), Fault> {
    let directory = state.join("bootstrap");
    if lock::is_bootstrap_at_work(&directory)? {
        return Err(
            Fault::busy("berth bootstrap is at work on this node").help("try again when it has ended")
        );
    }
    let marked = match read_text(host, &directory.join(MARKER)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Fault::host(format!("looking for a marker of berth bootstrap: {error}"))),
    };
    let boot = sysctl::read(host, sysctl::BOOT_ID).unwrap_or_default();
    if marked.trim() != boot {
        return Ok(());
    }
    Err(Fault::busy("this node waits for a reboot: berth bootstrap installed a driver or firmware")
        .help("ask its administrator when it will be"))
}
