//! The session: packets in, what each asks for, answers out.

use super::buffers::{Inlet, Outlet};
use super::failure::{Failure, Status};
use super::handles::{Handles, Open};
use super::longname::Names;
use super::request::{EXTENSIONS, Numbered, SftpRequest, parse};
use super::wire::{LONGEST_DATA, VERSION, kind};
use super::{directory, files, paths};
use crate::error::Fault;
use crate::ssh::inside::streams::widen;
use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, CWD, Stat, fstat, readlinkat, statat};
use rustix::io::{Errno, pread, retry_on_intr};
use std::os::fd::AsFd;

/// An answer was put out, or why not.
pub(super) type Answer = Result<(), Failure>;

/// What a session has besides its requests.
pub(super) struct Sftp {
    pub(super) handles: Handles,
    pub(super) outlet: Outlet,
    pub(super) names: Option<Names>,
    greeted: bool,
}

/// Serves standard input and output until the client has ended its requests.
pub fn serve() -> Result<()> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    widen([input.as_fd(), output.as_fd()]);
    match converse(input.as_fd(), output.as_fd()) {
        // The client went away without a word. There is nobody left to tell.
        Err(error) if error.downcast_ref::<Errno>() == Some(&Errno::PIPE) => Ok(()),
        other => other,
    }
}

fn converse(input: impl AsFd, output: impl AsFd) -> Result<()> {
    let mut inlet = Inlet::new();
    let mut sftp = Sftp { handles: Handles::new(), outlet: Outlet::new(), names: None, greeted: false };
    loop {
        let answered = sftp.answer_all(&mut inlet, &output);
        sftp.outlet.flush(&output).context("sending answers")?;
        answered?;
        if !inlet.fill(&input).context("waiting for requests")? {
            return Ok(());
        }
    }
}

impl Sftp {
    /// Answers every whole packet that has come.
    fn answer_all(&mut self, inlet: &mut Inlet, output: impl AsFd) -> Result<()> {
        while let Some(packet) = inlet.packet().map_err(|absurd| Fault::usage(absurd.to_string()))? {
            let Numbered { id, request } = parse(packet).map_err(|why| Fault::usage(why.to_string()))?;
            if !self.greeted && !matches!(request, Ok(SftpRequest::Init { .. })) {
                return Err(Fault::usage("the client did not start with its version").into());
            }
            if let Err(failure) = request.map_err(Failure::from).and_then(|request| self.answer(id, request))
            {
                self.status(id, &failure);
            }
            if self.outlet.has_enough() {
                self.outlet.flush(&output).context("sending answers")?;
            }
        }
        Ok(())
    }
    fn answer(&mut self, id: u32, request: SftpRequest<'_>) -> Answer {
        match request {
            SftpRequest::Init { .. } => self.greet(),
            SftpRequest::Read { handle, offset, length } => self.read(id, handle, offset, length)?,
            SftpRequest::Open { path, flags, attributes } => {
                self.handles.check_room()?;
                let file = files::open_file(path, flags, &attributes)?;
                self.handle(id, Open::File(file))?;
            }
            SftpRequest::OpenDirectory { path } => {
                self.handles.check_room()?;
                let directory = files::open_directory(path)?;
                self.handle(id, Open::Directory(directory))?;
            }
            SftpRequest::ReadDirectory { handle } => {
                let names = self.names.get_or_insert_with(Names::read);
                directory::list(&mut self.outlet, id, names, self.handles.directory(handle)?)?;
            }
            SftpRequest::LinkStatus { path } => self.stat(id, &statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?),
            SftpRequest::Status { path } => self.stat(id, &statat(CWD, path, AtFlags::empty())?),
            SftpRequest::HandleStatus { handle } => self.stat(id, &fstat(self.handles.any(handle)?)?),
            SftpRequest::RealPath { path } => self.name(id, &paths::real_path(path)?),
            SftpRequest::ReadLink { path } => self.name(id, readlinkat(CWD, path, Vec::new())?.as_bytes()),
            SftpRequest::Extended(request) => self.extended(id, request)?,
            SftpRequest::Unknown { kind } => {
                let message = format!("requests of type {kind} are not supported");
                return Err(Failure::new(Status::Unsupported, message));
            }
            change => {
                self.change(change)?;
                self.done(id);
            }
        }
        Ok(())
    }

    /// Requests that change something and are answered with no more than a status.
    fn change(&mut self, request: SftpRequest<'_>) -> Answer {
        match request {
            SftpRequest::Write { handle, offset, data } => {
                files::write_all(self.handles.file(handle)?, data, offset)
            }
            SftpRequest::Close { handle } => files::close(self.handles.remove(handle)?.into()),
            SftpRequest::SetStatus { path, attributes } => attributes.set_on_path(path),
            SftpRequest::SetHandleStatus { handle, attributes } => {
                attributes.set_on_file(self.handles.any(handle)?)
            }
            SftpRequest::Remove { path } => files::remove(path),
            SftpRequest::MakeDirectory { path, attributes } => files::make_directory(path, &attributes),
            SftpRequest::RemoveDirectory { path } => files::remove_directory(path),
            SftpRequest::Rename { from, to } => files::rename(from, to),
            SftpRequest::SymbolicLink { target, link } => files::symbolic_link(target, link),
            other => Err(Failure::new(Status::Unsupported, format!("{other:?} changes nothing"))),
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        // The version stands where other answers have their number.
        let begun = self.outlet.begin(kind::VERSION, VERSION);
        for (name, version) in EXTENSIONS {
            self.outlet.string(name.as_bytes());
            self.outlet.string(version.as_bytes());
        }
        self.outlet.finish(begun);
    }

    fn read(&mut self, id: u32, handle: &[u8], offset: u64, length: u32) -> Answer {
        let file = self.handles.file(handle)?;
        let wanted = usize::try_from(length.min(LONGEST_DATA)).unwrap_or(0);
        self.outlet.data(id, wanted, |room| match retry_on_intr(|| pread(file, &mut *room, offset))? {
            0 if wanted > 0 => Err(Failure::end_of_file()),
            count => Ok(count),
        })
    }

    fn handle(&mut self, id: u32, open: Open) -> Answer {
        let handle = self.handles.add(open)?;
        let begun = self.outlet.begin(kind::HANDLE, id);
        self.outlet.string(&handle);
        self.outlet.finish(begun);
        Ok(())
    }

    fn stat(&mut self, id: u32, found: &Stat) {
        let begun = self.outlet.begin(kind::ATTRS, id);
        self.outlet.attributes(found);
        self.outlet.finish(begun);
    }

    /// One name without attributes, as the answer to questions for a path.
    pub(super) fn name(&mut self, id: u32, name: &[u8]) {
        let begun = self.outlet.begin(kind::NAME, id);
        self.outlet.u32(1);
        self.outlet.string(name);
        self.outlet.string(name);
        self.outlet.no_attributes();
        self.outlet.finish(begun);
    }

    pub(super) fn done(&mut self, id: u32) {
        self.status(id, &Failure::new(Status::Ok, "Success"));
    }

    fn status(&mut self, id: u32, failure: &Failure) {
        let begun = self.outlet.begin(kind::STATUS, id);
        self.outlet.u32(failure.status.code());
        self.outlet.string(failure.message.as_bytes());
        self.outlet.string(b"en");
        self.outlet.finish(begun);
    }
}
