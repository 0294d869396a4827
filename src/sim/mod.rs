//! The simulated node: device nodes that no driver answers, and an npu-smi that prints what a real one prints.

use std::process::ExitCode;

/// Acts as npu-smi when the program was started under that name.
pub fn run_as_tool() -> Option<ExitCode> {
    None
}
