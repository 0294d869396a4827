//! One task for each session channel: it runs the program, and carries bytes between program and client.
//!
//! The handler never waits for a program: it sends orders to the task and returns. Output is read only as fast as
//! the client's window allows. Input waits in a bounded queue ([`InputQueue`]).

use super::input::{InputQueue, Inputs, UntilDropped};
use super::interjection::Interjections;
use super::launch::{Group, Launch, Program};
use super::own_keys::{KeysFile, NOTE};
use super::session::{Ending, Order, ProgramPlan, Size};
use super::terminal::{self, Terminal};
use crate::ssh::connection::activity::ChannelPlace;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use nix::sys::signal::Signal;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

const CONTROL_QUEUE: usize = 16;
/// How long a program may go on writing after its client has gone. What it writes is dropped.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a program has to read what its client had sent before it closed the channel,
const LAST_BYTES: Duration = Duration::from_secs(10);
/// and then to end by itself, before it gets SIGHUP.
const LAST_READ: Duration = Duration::from_secs(1);
/// The size of a buffer: what fits into one packet.
const CHUNK: usize = 32 << 10;
/// With less room than this in a buffer a new one is taken, so that small outputs share a buffer.
const LEAST_ROOM: usize = 4 << 10;
const STDERR: u32 = 1;

enum Control {
    Start(ProgramPlan, Option<Terminal>),
    Resize(Size),
    Signal(String),
}

/// The handler's end of a channel's task. Dropping it hangs the session up.
pub(in crate::ssh) struct Bridge {
    control: mpsc::Sender<Control>,
    pub(in crate::ssh) input: Arc<InputQueue>,
    /// Set when the client no longer reads the program's output.
    unread: watch::Sender<bool>,
    _alive: oneshot::Sender<()>,
}

/// The orders from the handler.
struct Orders {
    control: mpsc::Receiver<Control>,
    input: UntilDropped,
    unread: watch::Receiver<bool>,
    hangup: oneshot::Receiver<()>,
}

/// What a channel task needs to know and to write to.
pub(in crate::ssh) struct Line {
    pub(in crate::ssh) launch: Box<dyn Launch>,
    pub(in crate::ssh) writer: ChannelWriteHalf<Msg>,
    pub(in crate::ssh) handle: Handle,
    /// Its place among the connection's channels.
    pub(in crate::ssh) place: ChannelPlace,
}

impl Bridge {
    pub(in crate::ssh) fn open(line: Line, inputs: &Inputs) -> Self {
        let (control, control_end) = mpsc::channel(CONTROL_QUEUE);
        let input = inputs.add(line.writer.id().into());
        let (unread, unread_end) = watch::channel(false);
        let (alive, hangup) = oneshot::channel();
        let waiting = UntilDropped(Arc::clone(&input));
        tokio::spawn(run(line, Orders { control: control_end, input: waiting, unread: unread_end, hangup }));
        Self { control, input, unread, _alive: alive }
    }

    /// Whether the task has ended.
    pub(in crate::ssh) fn is_done(&self) -> bool {
        self.control.is_closed()
    }

    pub(in crate::ssh) fn pass(&self, order: Order, terminal: Option<Terminal>) {
        match order {
            Order::Start(plan) => self.control(Control::Start(plan, terminal)),
            Order::Resize(size) => self.control(Control::Resize(size)),
            Order::Signal(name) => self.control(Control::Signal(name)),
            Order::CloseOutput => {
                self.unread.send_replace(true);
            }
            Order::EndInput => self.input.end(),
        }
    }

    fn control(&self, control: Control) {
        // A client that sends more of these than a busy task takes loses some of its resizes.
        let _ = self.control.try_send(control);
    }
}

async fn run(line: Line, mut orders: Orders) {
    let (plan, terminal) = loop {
        tokio::select! {
            order = orders.control.recv() => match order {
                Some(Control::Start(plan, terminal)) => break (plan, terminal),
                Some(_) => {}
                None => return,
            },
            _ = &mut orders.hangup => return,
        }
    };
    let keys = KeysFile::look(line.launch.keys_file()).await;
    // Its write end may fail when the client is gone; there is nobody left to tell then.
    let _ = match line.launch.launch(plan, terminal).await {
        Ok(program) => serve(&line, program, &keys, orders).await,
        Err(error) => explain(&line, &error).await,
    };
}

/// Writes why the program could not be started, as a shell would.
async fn explain(line: &Line, error: &std::io::Error) -> Result<(), russh::Error> {
    tracing::error!(user = line.launch.who(), "starting a session: {error}");
    line.writer.extended_data_bytes(STDERR, format!("berth: starting the session: {error}\r\n")).await?;
    line.writer.exit_status(126).await?;
    line.writer.eof().await?;
    line.writer.close().await
}

async fn serve(line: &Line, program: Program, keys: &KeysFile, orders: Orders) -> Result<(), russh::Error> {
    let Orders { control, input: UntilDropped(ref input), unread, hangup } = orders;
    let Program { child, input: stdin, output, errors, terminal, group } = program;
    let exit = exit_of(child);
    let (gone, leaving) = watch::channel(false);
    let has_terminal = terminal.is_some();
    let has_exited = exit.clone();
    let outlet = |stream| {
        let (exit, unread, gone) = (exit.clone(), unread.clone(), leaving.clone());
        // Only what is a terminal: into anything else no word of ours may come.
        let told = if has_terminal { line.launch.notices() } else { None };
        let lines = Interjections::new(told);
        Outlet { line, stream, ends_with_program: has_terminal, exit, unread, gone, lines }
    };
    let program_ends = async {
        let mut exit = exit.clone();
        let exit = exit.wait_for(Option::is_some).await;
        exit.ok().and_then(|exit| *exit).and_then(|exit| exit.status)
    };
    let errors_end = async {
        match errors {
            Some(errors) => outlet(Some(STDERR)).pump(errors).await,
            None => Ok(()),
        }
    };
    let everything = async { tokio::join!(program_ends, outlet(None).pump(output), errors_end) };
    let mut everything = pin!(everything);
    let mut feeding = pin!(feed(input, &line.writer, stdin).fuse());
    let orders = async {
        tokio::join!(&mut feeding, obey(control, terminal, group, &has_exited));
        // Input may end long before the program does.
        std::future::pending::<()>().await;
    };
    let done = tokio::select! {
        done = &mut everything => Some(done),
        () = orders => None,
        _ = hangup => None,
    };
    let Some((status, sent, sent_errors)) = done else {
        let _ = gone.send(true);
        input.end();
        let deliver = async {
            if !feeding.is_terminated() {
                let _ = timeout(LAST_BYTES, &mut feeding).await;
            }
            if !has_terminal {
                // Who only waits for the end of its input is done by itself.
                let mut exit = has_exited.clone();
                let _ = timeout(LAST_READ, exit.wait_for(Option::is_some)).await;
            }
        };
        tokio::select! {
            _ = &mut everything => return Ok(()),
            () = deliver => {}
        }
        if has_exited.borrow().is_none() {
            group.signal(Signal::SIGHUP);
        }
        if !has_terminal {
            // A pipe that closed at once would kill with SIGPIPE what is just about to save its work.
            let _ = timeout(LAST_WORDS, &mut everything).await;
        }
        return Ok(());
    };
    // Before anything that waits for the client.
    input.refuse();
    sent?;
    sent_errors?;
    if !has_terminal && keys.has_changed().await {
        line.writer.extended_data_bytes(STDERR, NOTE).await?;
    }
    report(line, status).await
}

/// Waits for the program on a task of its own, so that it is waited for even when its session has ended long
/// before.
fn exit_of(mut child: Child) -> watch::Receiver<Option<Exit>> {
    let (exited, exit) = watch::channel(None);
    tokio::spawn(async move {
        let status = child.wait().await.ok();
        let _ = exited.send(Some(Exit { at: Instant::now(), status }));
    });
    exit
}

/// When a program ended, and its status, if that is known.
#[derive(Debug, Clone, Copy)]
struct Exit {
    at: Instant,
    status: Option<ExitStatus>,
}

/// Where one output stream of the program goes.
struct Outlet<'a> {
    line: &'a Line,
    stream: Option<u32>,
    /// Whether the stream ends with the program. Otherwise it ends with the last process that has it open, as in
    /// OpenSSH: a pipe may still carry output of others.
    ends_with_program: bool,
    exit: watch::Receiver<Option<Exit>>,
    unread: watch::Receiver<bool>,
    gone: watch::Receiver<bool>,
    lines: Interjections,
}

impl Outlet<'_> {
    /// Carries the stream to the client until the stream ends, or until [`Ending`] says so after the exit. When the
    /// client no longer reads, the output is closed, so that a program that goes on writing gets SIGPIPE. A
    /// terminal is not closed, only no longer read, as in OpenSSH.
    async fn pump(self, from: impl AsyncRead + Unpin) -> Result<(), russh::Error> {
        let mut unread = self.unread.clone();
        let is_output = self.stream.is_none();
        tokio::select! {
            biased;
            () = is_set(&mut unread), if is_output => Ok(()),
            ended = self.carry(from) => ended,
        }
    }

    async fn carry(mut self, mut from: impl AsyncRead + Unpin) -> Result<(), russh::Error> {
        let mut buffer = BytesMut::new();
        let mut ending = Ending::default();
        loop {
            if buffer.capacity() < LEAST_ROOM {
                buffer.reserve(CHUNK);
            }
            let read = tokio::select! {
                biased;
                read = from.read_buf(&mut buffer) => read,
                () = quiet_after(&mut self.exit), if self.ends_with_program => return Ok(()),
                line = self.lines.next() => {
                    self.send(line).await?;
                    continue;
                }
            };
            // A stream that breaks off has ended; the exit status tells the rest.
            let Ok(count @ 1..) = read else { return Ok(()) };
            let output = buffer.split().freeze();
            self.lines.saw(&output);
            self.send(output).await?;
            if let Some(line) = self.lines.due() {
                self.send(line).await?;
            }
            let since_exit = self.exit.borrow().map(|exit| exit.at.elapsed());
            if self.ends_with_program && !ending.goes_on(count, since_exit) {
                return Ok(());
            }
        }
    }

    /// Sends data, waiting for the client's window. Once the client has gone, data is dropped.
    async fn send(&mut self, data: Bytes) -> Result<(), russh::Error> {
        self.line.place.sent(data.len());
        let writer = &self.line.writer;
        let sending = async {
            match self.stream {
                None => writer.data_bytes(data).await,
                Some(stream) => writer.extended_data_bytes(stream, data).await,
            }
        };
        let sent = tokio::select! {
            biased;
            () = is_set(&mut self.gone) => return Ok(()),
            sent = sending => sent,
        };
        match sent {
            // The connection ended just now; being told so is a matter of moments.
            Err(russh::Error::SendError) => Ok(()),
            other => other,
        }
    }
}

async fn is_set(told: &mut watch::Receiver<bool>) {
    if told.wait_for(|told| *told).await.is_err() {
        // The handler is gone, and will not say it any more.
        std::future::pending::<()>().await;
    }
}

/// Returns when the program has exited and a while has passed.
async fn quiet_after(exit: &mut watch::Receiver<Option<Exit>>) {
    // The sender lives as long as the pumps do.
    let _ = exit.wait_for(Option::is_some).await;
    tokio::time::sleep(Ending::QUIET).await;
}

/// Carries the client's input to the program, until the input ends.
async fn feed(input: &InputQueue, writer: &ChannelWriteHalf<Msg>, mut stdin: impl AsyncWrite + Unpin) {
    while let Some(data) = input.take().await {
        input.reopen(writer).await;
        if stdin.write_all(&data).await.is_err() {
            input.refuse();
            input.reopen(writer).await;
            break;
        }
    }
}

async fn obey(
    mut control: mpsc::Receiver<Control>,
    terminal: Option<terminal::Control>,
    group: Group,
    exit: &watch::Receiver<Option<Exit>>,
) {
    while let Some(order) = control.recv().await {
        match order {
            Control::Resize(size) => {
                if let Some(terminal) = &terminal {
                    // A size that the kernel does not like changes nothing.
                    let _ = terminal.resize(size);
                }
            }
            Control::Signal(name) => {
                if let Ok(signal) = format!("SIG{name}").parse::<Signal>()
                    && exit.borrow().is_none()
                {
                    group.signal(signal);
                }
            }
            Control::Start(..) => {}
        }
    }
}

/// Tells the client how the program ended, after all of its output.
async fn report(line: &Line, status: Option<ExitStatus>) -> Result<(), russh::Error> {
    line.writer.eof().await?;
    match status.map(|status| (status.code(), status.signal(), status.core_dumped())) {
        Some((Some(code), ..)) => line.writer.exit_status(u32::try_from(code).unwrap_or(255)).await?,
        Some((None, Some(signal), core)) => {
            let name = Signal::try_from(signal).map_or("SIGKILL", Signal::as_str);
            let name = Sig::Custom(name.trim_start_matches("SIG").to_owned());
            line.handle
                .exit_signal_request(line.writer.id(), name, core, String::new(), String::new())
                .await
                .map_err(|()| russh::Error::SendError)?;
        }
        _ => line.writer.exit_status(255).await?,
    }
    line.writer.close().await
}
