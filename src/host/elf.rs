//! Whether a program is static, so that it needs no loader and libraries of the system that it runs on.

use crate::error::Fault;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, read};
use std::path::Path;

/// True for an ELF program without an interpreter.
pub fn is_static(path: &Path) -> Result<bool, Fault> {
    let file = super::files::open_regular(path)?;
    let look = || -> read::Result<bool> {
        let data = &ReadCache::new(file);
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        Ok(header.program_headers(endian, data)?.iter().all(|program| program.p_type(endian) != PT_INTERP))
    };
    look().map_err(|error| Fault::host(format!("{} is not a program: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_and_dynamic_programs_are_told_apart() {
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        assert!(!is_static(&shell).unwrap(), "the build machine's shell has a loader");
        assert!(is_static(&std::env::current_exe().unwrap()).unwrap(), "tests are built as berth is");
        assert!(is_static(Path::new("/etc/passwd")).is_err());
    }
}
