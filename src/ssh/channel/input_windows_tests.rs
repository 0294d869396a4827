//! Windows that are shut and opened again, as a client sees them: the real queues between a model of russh with our
//! changes, a network that takes a while, and a client that sends what it may on each of its channels.

use super::*;
use crate::ssh::channel::windows::SHUT;
use futures_util::FutureExt as _;

const PACKET: usize = 32 << 10;
const UPLOAD: usize = 100 << 20;
/// How many packets the network and the server take in a step.
const AT_ONCE: usize = 4;

struct Channel {
    queue: Arc<InputQueue>,
    /// What the reader takes in a step; `None`: whatever there is.
    rate: Option<usize>,
    /// What it was given and has not read.
    in_pipe: usize,
    /// The window as russh and as the client know it.
    ours: usize,
    clients: usize,
    /// Packets that came, and bytes that the reader has read.
    packets: usize,
    read: usize,
}

struct Run {
    inputs: Inputs,
    channels: Vec<Channel>,
    latency: usize,
    step: usize,
    packets: VecDeque<(usize, usize, usize)>,
    openings: VecDeque<(usize, usize, usize)>,
}

impl Run {
    fn new(rates: &[Option<usize>], latency: usize) -> Self {
        let inputs = Inputs::among(&Everywhere::new(ALL), Closer::new().0);
        let window = WINDOW as usize;
        let channel = |(id, rate): (usize, &Option<usize>)| Channel {
            queue: inputs.add(u32::try_from(id).unwrap()),
            rate: *rate,
            in_pipe: 0,
            ours: window,
            clients: window,
            packets: 0,
            read: 0,
        };
        let channels = rates.iter().enumerate().map(channel).collect();
        Self { inputs, channels, latency, step: 0, packets: VecDeque::new(), openings: VecDeque::new() }
    }

    fn step(&mut self) {
        self.step += 1;
        while let Some((id, size, _)) = self.openings.pop_front_if(|opening| opening.2 <= self.step) {
            self.channels[id].clients += size;
        }
        let on_the_way: usize = self.packets.iter().map(|packet| packet.1).sum();
        for (id, channel) in self.channels.iter_mut().enumerate() {
            let size = channel.clients.min(PACKET);
            if size > 0 && on_the_way < 2 << 20 {
                channel.clients -= size;
                self.packets.push_back((id, size, self.step + self.latency));
            }
        }
        for _ in 0..AT_ONCE {
            if let Some((id, size, _)) = self.packets.pop_front_if(|packet| packet.2 <= self.step) {
                self.hear(id, size);
            }
        }
        for id in 0..self.channels.len() {
            self.feed(id);
        }
    }

    fn hear(&mut self, id: usize, size: usize) {
        let target = self.inputs.own_window(u32::try_from(id).unwrap());
        self.channels[id].ours -= size;
        self.open(id, target);
        self.channels[id].packets += 1;
        self.channels[id].queue.push(&vec![0; size]).unwrap();
    }

    /// As russh does: only where less than half of it is left.
    fn open(&mut self, id: usize, target: u32) {
        let (channel, target) = (&mut self.channels[id], target as usize);
        if channel.ours < target / 2 {
            self.openings.push_back((id, target - channel.ours, self.step + self.latency));
            channel.ours = target;
        }
    }

    /// The channel's task: what was taken is written, and nothing is taken before all of it is.
    fn feed(&mut self, id: usize) {
        let mut left = self.channels[id].rate.unwrap_or(usize::MAX);
        loop {
            let channel = &mut self.channels[id];
            let reads = left.min(channel.in_pipe);
            channel.in_pipe -= reads;
            channel.read += reads;
            left -= reads;
            if channel.in_pipe > 0 {
                return;
            }
            let Some(Some(piece)) = channel.queue.take().now_or_never() else { return };
            channel.in_pipe = piece.len();
            if let Some(target) = channel.queue.reopens_to() {
                self.open(id, target);
            }
        }
    }

    /// Steps until that much was read from the channel.
    fn until(&mut self, id: usize, bytes: usize) -> usize {
        let began = self.step;
        while self.channels[id].read < bytes {
            self.step();
            assert!(self.step - began < 1_000_000, "no progress");
        }
        self.step - began
    }

    fn packets(&self, id: usize) -> usize {
        self.channels[id].packets
    }
}

#[test]
fn readers_that_are_behind_say_nothing_and_take_nothing_from_an_upload() {
    for latency in [1, 10, 100] {
        let alone = Run::new(&[None], latency).until(0, UPLOAD);
        let mut run = Run::new(&[None, Some(0), Some(0), Some(0), Some(0)], latency);
        // What they may send before they are behind.
        let most = (LONG + WINDOW as usize) / PACKET + 1;
        run.until(0, UPLOAD);
        let before: Vec<usize> = (1..5).map(|id| run.packets(id)).collect();
        assert!(before.iter().all(|packets| *packets <= most), "{before:?}");
        let beside = run.until(0, 2 * UPLOAD);
        assert!(beside <= alone + alone / 50, "at {latency}: {beside} steps, alone {alone}");
        let after: Vec<usize> = (1..5).map(|id| run.packets(id)).collect();
        assert_eq!(before, after, "who is behind asks for nothing");
    }
}

#[test]
fn a_slow_reader_never_waits_for_its_client() {
    for latency in [1, 10] {
        for rate in [100, PACKET / 4, PACKET] {
            let mut run = Run::new(&[None, Some(rate)], latency);
            let bytes = (rate * 20_000).min(UPLOAD);
            let steps = run.until(1, bytes);
            assert!(steps <= bytes / rate + 2 * latency + 100, "{rate} at {latency}: {steps} steps");
        }
    }
}

#[test]
fn readers_that_stopped_and_go_on_are_sent_the_rest_however_much_waits() {
    let mut rates = vec![Some(0); 40];
    rates[0] = None;
    let mut run = Run::new(&rates, 10);
    for _ in 0..10_000 {
        run.step();
    }
    let waiting = run.inputs.0.waiting.load(Ordering::Relaxed);
    assert!(waiting > TOO_MUCH && waiting < run.inputs.0.most(), "{waiting}");
    // More than what had come, so that each window has to be opened again: at first while too much waits.
    for (rate, bytes) in [(Some(1000), 5 << 20), (None, 10 << 20)] {
        for channel in run.channels.iter_mut().skip(1) {
            channel.rate = rate;
        }
        for id in 1..40 {
            run.until(id, bytes);
        }
    }
}

#[test]
fn a_window_that_was_shut_is_opened_once_by_who_takes_and_by_who_refuses() {
    let inputs = Inputs::new(Closer::new().0);
    let (queue, other) = (inputs.add(1), inputs.add(2));
    assert_eq!((inputs.own_window(1), queue.reopens_to()), (WINDOW, None));
    queue.push(&vec![0; LONG]).unwrap();
    assert_eq!((inputs.own_window(1), inputs.own_window(2)), (SHUT, WINDOW));
    assert_eq!(queue.reopens_to(), None, "nothing was taken");
    queue.take().now_or_never().unwrap().unwrap();
    assert_eq!((queue.reopens_to(), queue.reopens_to()), (Some(WINDOW), None));
    other.push(&vec![0; LONG]).unwrap();
    assert_eq!(inputs.own_window(2), SHUT);
    other.refuse();
    assert_eq!((other.reopens_to(), other.reopens_to()), (Some(WINDOW), None));
    assert_eq!(inputs.own_window(3), WINDOW, "a channel that nobody reads");
}
