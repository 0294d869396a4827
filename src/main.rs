//! The program: parse, run, and turn an error's class into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The simulated node's npu-smi is this same program under that name, so that it runs in any image.
    if let Some(status) = berth::accel::simulated::run_as_tool() {
        return status;
    }
    // So is the scp of berths whose image has none.
    if let Some(status) = berth::cli::run_as_scp() {
        return status;
    }
    berth::cli::main()
}
