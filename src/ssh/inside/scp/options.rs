//! The words after `scp`. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

const NO_CLIENT: &str = "this is berth's far end of the protocol (-t, -f), not a client; \
                         to copy from here install the image's openssh-client";
/// Flags of clients that say nothing about what is copied, without and with a value.
const IGNORED: &[u8] = b"12346ABCOqRTsv";
const IGNORED_WITH_VALUE: &[u8] = b"cDFiJlMoPSX";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `-f`: sends.
    Source,
    /// `-t`: receives.
    Sink,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) role: Role,
    /// `-r`
    pub(super) recursive: bool,
    /// `-p`: times and modes as they are.
    pub(super) preserve: bool,
    /// `-d`: the target has to be a directory.
    pub(super) into_directory: bool,
    pub(super) paths: Vec<Vec<u8>>,
}

impl Options {
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut words = arguments.into_iter().map(OsStringExt::into_vec).peekable();
        let (mut role, mut recursive, mut preserve, mut into_directory) = (None, false, false, false);
        while let Some(word) = words.next_if(|word| word.starts_with(b"-") && word.len() > 1) {
            if word == b"--" {
                break;
            }
            let mut flags = word.into_iter().skip(1);
            while let Some(flag) = flags.next() {
                match flag {
                    b't' => role = Some(Role::Sink),
                    b'f' => role = Some(Role::Source),
                    b'r' => recursive = true,
                    b'p' => preserve = true,
                    b'd' => into_directory = true,
                    flag if IGNORED.contains(&flag) => {}
                    flag if IGNORED_WITH_VALUE.contains(&flag) => {
                        if flags.next().is_none() {
                            words.next();
                        }
                        break;
                    }
                    flag => return Err(format!("unknown option -{}", char::from(flag).escape_default())),
                }
            }
        }
        let role = role.ok_or(NO_CLIENT)?;
        let paths: Vec<Vec<u8>> = words.collect();
        match (role, paths.len()) {
            (_, 0) => Err("no path was named".into()),
            (Role::Sink, 2..) => Err("ambiguous target".into()),
            _ => Ok(Self { role, recursive, preserve, into_directory, paths }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_of_clients_are_understood() {
        let sink = parse("-v -rp -d -t -- -x").unwrap();
        assert!(sink.recursive && sink.preserve && sink.into_directory && sink.role == Role::Sink);
        assert_eq!(sink.paths, [b"-x"]);
        let source = parse("-qf -l 100 -c3des a b -").unwrap();
        assert!(!source.recursive && source.role == Role::Source);
        assert_eq!(source.paths, [b"a".to_vec(), b"b".to_vec(), b"-".to_vec()]);
    }

    #[test]
    fn what_is_not_the_far_end_is_refused() {
        for (line, why) in [
            ("a host:b", NO_CLIENT),
            ("-t a b", "ambiguous target"),
            ("-f", "no path was named"),
            ("-tz a", "unknown option -z"),
        ] {
            assert_eq!(parse(line).unwrap_err(), why);
        }
    }
}
