//! This program under the name `npu-smi`: on the host beside its state, in a container under the driver's path.
//!
//! It writes straight to standard output: it is another program with an output format of its own, and
//! `cli::render` is for berth's.

use super::prepare::DRIVER_IN_CONTAINER;
use super::state::SimState;
use super::tables::{self, Row};
use crate::accel::{Accelerator as _, Ascend};
use crate::host::{Host, RealHost, nodes};
use crate::model::CardId;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// npu-smi ends with DCMI's code, of which the shell sees the low byte.
const NO_DRIVER: (&str, u8) = ("dcmi module initialize failed. ret is -8005\n", 187);
const DEVICE_USED: (&str, u8) =
    ("dcmi model initialized failed, because the device is used. ret is -8020\n", 172);
const LOG_LEVEL: &str = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\n";
const USAGE: &str = "Usage: npu-smi info <watch|proc|-h|-m|-l|-t type> [Options...]\n";
const FAILED: u8 = 255;

/// Acts as npu-smi when the program was started under that name.
pub fn run_as_tool() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let name = PathBuf::from(words.next()?);
    if name.file_name()? != "npu-smi" {
        return None;
    }
    let args: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let (text, status) = answer(&RealHost::default(), &name, &args);
    // A reader that went away is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Some(ExitCode::from(status))
}

fn answer(host: &dyn Host, name: &Path, args: &[String]) -> (String, u8) {
    let found = find_state(host, name);
    let Some((state, on_host)) = found else {
        // As a real one says where there is no driver.
        return (format!("{LOG_LEVEL}{}", NO_DRIVER.0), NO_DRIVER.1);
    };
    let faults = &state.faults;
    if let Some(delay) = faults.delay_ms {
        std::thread::sleep(Duration::from_millis(delay));
    }
    if faults.hang {
        loop {
            std::thread::park();
        }
    }
    for (on, (text, status)) in [(faults.no_driver, NO_DRIVER), (faults.device_used, DEVICE_USED)] {
        if on {
            return (format!("{LOG_LEVEL}{text}"), status);
        }
    }
    let visible = |id: CardId| {
        let node = || nodes::device_node(&Path::new("/dev").join(Ascend.node_name(id))).ok().flatten();
        on_host || node().is_some_and(|node| (node.major, node.minor) == (state.simulation.major, id.0))
    };
    let rows = tables::rows(&state, &visible);
    respond(&state, &rows, on_host, args)
}

/// The state beside the tool, or the one that a container has mounted; and which of them it was.
fn find_state(host: &dyn Host, name: &Path) -> Option<(SimState, bool)> {
    let beside = directory(host, name).map(|dir| dir.join("driver/sim.json"));
    let inside = Path::new(DRIVER_IN_CONTAINER).join("sim.json");
    let read = |path: &Path| SimState::read(host, path).ok().flatten();
    let on_host = beside.and_then(|path| read(&path)).map(|state| (state, true));
    on_host.or_else(|| read(&inside).map(|state| (state, false)))
}

/// Where the tool was started from; a bare name came from `PATH`.
fn directory(host: &dyn Host, name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.parent().map(Path::to_path_buf);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|dir| host.exists(&dir.join(name)))
}

fn respond(state: &SimState, rows: &[Row<'_>], on_host: bool, args: &[String]) -> (String, u8) {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(("info", options)) = words.split_first().map(|(verb, rest)| (*verb, rest)) else {
        return (USAGE.into(), FAILED);
    };
    if options.is_empty() {
        if rows.is_empty() {
            return (format!("{LOG_LEVEL}{}", NO_DRIVER.0), NO_DRIVER.1);
        }
        return (tables::info(state, rows), 0);
    }
    if state.faults.no_queries {
        return invalid_card();
    }
    let value = |flag: &str| {
        let at = options.iter().position(|word| *word == flag)?;
        options.get(at + 1).copied()
    };
    let text = match (options, value("-t"), value("-i")) {
        (["-l"], ..) => Some(tables::list(rows)),
        (["-m"], ..) => Some(tables::map(state, rows, on_host)),
        (_, Some("topo"), _) => Some(tables::topo(rows)),
        (_, Some(kind), Some(id)) => {
            let id: Result<u32, _> = id.parse();
            let Some(row) = rows.iter().find(|row| id.as_ref() == Ok(&row.card.id.0)) else {
                return invalid_card();
            };
            tables::detail(state, row, kind)
        }
        _ => None,
    };
    text.map_or_else(|| (USAGE.into(), FAILED), |text| (text, 0))
}

fn invalid_card() -> (String, u8) {
    (format!("Invalid card id.\nError parameter of -i\n{USAGE}"), FAILED)
}
