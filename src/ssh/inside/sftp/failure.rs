//! Why a request failed, as a status code of SFTP. The mapping is OpenSSH's, which clients know.

use super::wire::Malformed;
use nix::errno::Errno;
use std::borrow::Cow;

/// The status codes of version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    EndOfFile,
    NoSuchFile,
    PermissionDenied,
    Failure,
    BadMessage,
    Unsupported,
}

impl Status {
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::EndOfFile => 1,
            Self::NoSuchFile => 2,
            Self::PermissionDenied => 3,
            Self::Failure => 4,
            Self::BadMessage => 5,
            Self::Unsupported => 8,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: Status,
    pub(super) message: Cow<'static, str>,
}

impl Failure {
    pub(super) fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn end_of_file() -> Self {
        Self::new(Status::EndOfFile, "End of file")
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        let status = match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EBADF | Errno::ELOOP => Status::NoSuchFile,
            Errno::EPERM | Errno::EACCES | Errno::EFAULT => Status::PermissionDenied,
            Errno::ENAMETOOLONG | Errno::EINVAL => Status::BadMessage,
            Errno::ENOSYS => Status::Unsupported,
            _ => Status::Failure,
        };
        Self::new(status, errno.desc())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno::from_raw(errno.raw_os_error()).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Self::new(Status::Failure, error.to_string()),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::new(Status::BadMessage, malformed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_what_clients_of_openssh_expect() {
        for (errno, status, message) in [
            (Errno::ENOENT, Status::NoSuchFile, "No such file or directory"),
            (Errno::EACCES, Status::PermissionDenied, "Permission denied"),
            (Errno::ENOSPC, Status::Failure, "No space left on device"),
            (Errno::ENAMETOOLONG, Status::BadMessage, "File name too long"),
            (Errno::ENOSYS, Status::Unsupported, "Function not implemented"),
        ] {
            assert_eq!(Failure::from(errno), Failure::new(status, message));
        }
        assert_eq!(Failure::from(rustix::io::Errno::NOTDIR).status, Status::NoSuchFile);
        assert_eq!(Failure::from(std::io::Error::other("why")).message, "why");
    }
}
