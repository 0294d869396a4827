//! `berth inside sftp`: an SFTP server (version 3, as OpenSSH speaks it) on standard input and output.
//!
//! A process of its own, started as the session user and never through the login shell, so that no rc file can put
//! a word into the stream. One thread, blocking calls: a session is one queue of requests, and what makes it fast is
//! few system calls and no copies. Many requests come with one `read`; data goes between file and buffer with
//! `pread` and `pwrite`; the answers to all requests that wait leave with one `write`.
//!
//! Own code, not the russh-sftp crate: file names are bytes (GBK names exist; that crate takes text), and it has to
//! be at least as fast as OpenSSH's sftp-server, which an asynchronous one in front of blocking files is not.
//!
//! The client is hostile. [`wire`] and [`request`] are pure and bound everything; the kernel says what the user may
//! do. It must never run as somebody else than the session user, and never keep more than its buffers hold.

mod attributes;
mod buffers;
mod copy;
mod directory;
mod extended;
mod failure;
mod files;
mod handles;
mod longname;
mod paths;
mod request;
mod serve;
mod wire;

pub use serve::serve as serve_sftp;
