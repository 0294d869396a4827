//! Computes the size that russh opens a channel's window to next, so that a slow reader slows down only its own
//! channel. Pure: what was received and opened goes in, a size comes out.
//!
//! russh has one size for all channels of a connection. It opens a window to that size when a packet left less than
//! half of it, and asks for the next size right after. A channel that is behind must get [`TRICKLE`]; the others
//! want a whole window. russh does not say whose packet is next, but that can mostly be predicted:
//! - A channel that is behind uses up its window by sending its two bytes; this is called **asking**. Its next two
//!   bytes come after a round trip, and everything that is already on its way comes before them. So when every
//!   channel that is behind has asked, the next packet belongs to an upload that goes on. It gets a whole window,
//!   and the size is small again after it.
//! - Where nothing is on its way because all windows are used up, channels ask in the same order again and again.
//!   So a channel that waits for a whole window gets it right after the channel that asks before it.
//!
//! All this is for russh from the registry. A russh with our changes (`scripts/lib/russh-*.diff`) asks for each
//! channel's size ([`own_window`]) and can open a window later: nothing is predicted, and no channel asks
//! repeatedly.
//!
//! After a wrong prediction, a channel that is behind gets one window too many. The data that waits has a limit,
//! and the more waits, the smaller the windows get.

pub(in crate::ssh) use crate::ssh::connection::protocol::WINDOW;
use std::collections::HashMap;
use std::hash::Hash;

/// russh opens no window to this size.
pub(in crate::ssh) const SHUT: u32 = 0;
/// The smallest window size that russh opens again (below half of it, which is at zero).
pub(in crate::ssh) const TRICKLE: u32 = 2;
/// From here on windows get smaller,
pub(in crate::ssh) const PLENTY: usize = 32 << 20;
/// and from here on all are as small as can be.
pub(in crate::ssh) const TOO_MUCH: usize = 64 << 20;
/// With that much from others between two trickles of a channel, they come no faster than is good by themselves.
const BUSY: u64 = 64 << 10;

/// Where a channel's reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) enum Reader {
    UpToDate,
    Behind,
    /// Nobody reads this channel any more, or it is not known here.
    Gone,
}

/// The windows of one connection, as russh and the client know them.
#[derive(Debug)]
pub(in crate::ssh) struct Windows<K> {
    channels: HashMap<K, Channel<K>>,
    /// The packet that is being looked at was counted when its window was opened.
    is_counted: bool,
    /// Bytes that ever came on channels that were not behind.
    from_others: u64,
    /// Which channel last asked with the two bytes that it had.
    last_asked: Option<K>,
}

#[derive(Debug, Clone, Copy)]
struct Channel<K> {
    /// What the client may still send.
    left: u32,
    is_behind: bool,
    /// Something, in this round.
    has_sent: bool,
    /// With the two bytes that it had, in this round.
    has_asked: bool,
    /// Nobody waits for it until it sends something.
    is_idle: bool,
    /// Which one asked before it.
    after: Option<K>,
    /// What had come from others when it last paused, or could have.
    from_others: u64,
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self { channels: HashMap::new(), is_counted: false, from_others: 0, last_asked: None }
    }
}

impl<K> Channel<K> {
    fn new() -> Self {
        Self {
            left: WINDOW,
            is_behind: false,
            has_sent: false,
            has_asked: false,
            is_idle: false,
            after: None,
            from_others: 0,
        }
    }

    fn is_hungry(&self) -> bool {
        !self.is_behind && self.has_sent
    }

    fn is_used_up(&self) -> bool {
        self.left <= TRICKLE
    }
}

impl<K: Eq + Hash + Copy> Windows<K> {
    /// A window was just opened, for data that has come. Returns the size to open windows to next.
    pub(in crate::ssh) fn opened(
        &mut self,
        id: K,
        to: u32,
        waiting: usize,
        reader: impl Fn(K) -> Reader,
    ) -> u32 {
        self.is_counted = true;
        self.channels.entry(id).or_insert_with(Channel::new);
        self.channels.retain(|other, channel| {
            let is = reader(*other);
            channel.is_behind = is == Reader::Behind;
            *other == id || is != Reader::Gone
        });
        let Some(channel) = self.channels.get_mut(&id) else { return TRICKLE };
        (channel.left, channel.has_sent, channel.is_idle) = (to, true, false);
        let is_behind = channel.is_behind;
        if to > TRICKLE {
            self.end_round(is_behind);
        } else {
            self.ask(id, is_behind);
        }
        self.next(id, is_behind, full_window(waiting))
    }

    /// Data has come. To be called for each packet, after [`Windows::opened`] where that is called.
    pub(in crate::ssh) fn received(&mut self, id: K, length: usize) {
        let is_counted = std::mem::take(&mut self.is_counted);
        let channel = self.channels.entry(id).or_insert_with(Channel::new);
        (channel.has_sent, channel.is_idle) = (true, false);
        if !channel.is_behind {
            self.from_others = self.from_others.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        }
        if !is_counted {
            // As russh does: a packet that there is no room for counts nothing.
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            channel.left = channel.left.checked_sub(length).unwrap_or(channel.left);
        }
    }

    /// Whether a channel that is behind should wait a moment with its next two bytes: nothing else slows it down, and
    /// nobody waits for it to ask.
    pub(in crate::ssh) fn should_pause(&mut self, id: K) -> bool {
        let is_waited_for = self.channels.values().any(|channel| !channel.is_behind && channel.has_asked);
        let now = self.from_others;
        let Some(channel) = self.channels.get_mut(&id) else { return true };
        let before = std::mem::replace(&mut channel.from_others, now);
        now.saturating_sub(before) < BUSY && !is_waited_for
    }

    /// A channel used up its window, and has two bytes again.
    fn ask(&mut self, id: K, is_behind: bool) {
        let last = self.last_asked.replace(id);
        // Nobody else asked between its last two bytes and these: those that could have have nothing to send.
        let is_alone = last == Some(id) && !is_behind;
        let is_again = self.channels.get(&id).is_some_and(|channel| channel.has_asked);
        for (other, channel) in &mut self.channels {
            channel.has_asked &= !is_again;
            channel.is_idle |= is_alone;
            if *other == id {
                (channel.has_asked, channel.is_idle) = (true, false);
                channel.after = last.filter(|last| *last != id);
            }
        }
    }

    /// A whole window was given away, to whom it was meant for or not.
    fn end_round(&mut self, was_wrong: bool) {
        for channel in self.channels.values_mut() {
            channel.has_sent &= was_wrong;
            channel.has_asked = false;
        }
    }

    fn next(&self, asked: K, is_behind: bool, full: u32) -> u32 {
        let mut behind = self.channels.values().filter(|channel| channel.is_behind).peekable();
        if behind.peek().is_none() {
            return full;
        }
        let (mut all_asked, mut all_idle) = (is_behind, true);
        for channel in behind {
            all_asked &= channel.has_asked || channel.is_idle;
            all_idle &= channel.is_idle;
        }
        let hungry = || self.channels.values().filter(|channel| channel.is_hungry());
        if all_idle || hungry().any(|channel| channel.is_used_up() && channel.after == Some(asked)) {
            // What it sends next is what comes next.
            return full;
        }
        if !all_asked || hungry().any(Channel::is_used_up) {
            return TRICKLE;
        }
        // What those with a window send is on its way. The size decides who gets one: who has less than half of it.
        match hungry().map(|channel| channel.left).min() {
            Some(left) if left < full / 2 => full,
            Some(left) if left < full => full.saturating_mul(2),
            _ => TRICKLE,
        }
    }
}

/// The size for this very channel, where russh asks for each by itself. Whoever keeps the queue opens one that was shut.
pub(in crate::ssh) fn own_window(reader: Reader, waiting: usize) -> u32 {
    match reader {
        Reader::Behind => SHUT,
        Reader::UpToDate | Reader::Gone => full_window(waiting),
    }
}

fn full_window(waiting: usize) -> u32 {
    match waiting {
        ..PLENTY => WINDOW,
        PLENTY..TOO_MUCH => WINDOW / 8,
        _ => TRICKLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 32 << 10;

    /// russh's side of the windows, a client that sends what it may on each of its channels in turn, and a network
    /// that takes a while. Channels with a `rate` are read no faster than that, in bytes a step.
    struct Run {
        windows: Windows<usize>,
        target: u32,
        ours: Vec<u32>,
        clients: Vec<usize>,
        rates: Vec<Option<usize>>,
        waiting: Vec<usize>,
        arrived: Vec<usize>,
        /// What is on its way to the server, and openings on their way to the client with their step.
        packets: std::collections::VecDeque<(usize, usize, usize)>,
        openings: std::collections::VecDeque<(usize, usize, usize)>,
        step: usize,
        latency: usize,
    }

    impl Run {
        fn new(rates: &[Option<usize>], latency: usize) -> Self {
            let count = rates.len();
            Self {
                windows: Windows::default(),
                target: WINDOW,
                ours: vec![WINDOW; count],
                clients: vec![WINDOW as usize; count],
                rates: rates.to_vec(),
                waiting: vec![0; count],
                arrived: vec![0; count],
                packets: std::collections::VecDeque::new(),
                openings: std::collections::VecDeque::new(),
                step: 0,
                latency,
            }
        }

        /// In one step the client says one packet a channel, the server hears four and the readers read.
        fn step(&mut self) {
            self.step += 1;
            while let Some((channel, size, _)) = self.openings.pop_front_if(|opening| opening.2 <= self.step)
            {
                self.clients[channel] += size;
            }
            let on_the_way: usize = self.packets.iter().map(|packet| packet.1).sum();
            for channel in 0..self.clients.len() {
                let size = self.clients[channel].min(PACKET);
                if size > 0 && on_the_way < 2 << 20 {
                    self.clients[channel] -= size;
                    self.packets.push_back((channel, size, self.step + self.latency));
                }
            }
            for _ in 0..4 {
                if let Some((channel, size, _)) = self.packets.pop_front_if(|packet| packet.2 <= self.step) {
                    self.hear(channel, size);
                }
            }
            for (waiting, rate) in self.waiting.iter_mut().zip(&self.rates) {
                *waiting -= rate.unwrap_or(usize::MAX).min(*waiting);
            }
        }

        fn hear(&mut self, channel: usize, size: usize) {
            let left = &mut self.ours[channel];
            *left -= u32::try_from(size).unwrap();
            if *left < self.target / 2 {
                let opened = (self.target - *left) as usize;
                *left = self.target;
                self.openings.push_back((channel, opened, self.step + self.latency));
                let total = self.waiting.iter().sum();
                let waiting = &self.waiting;
                self.target = self.windows.opened(channel, self.target, total, |channel| {
                    if waiting[channel] >= 1 << 20 { Reader::Behind } else { Reader::UpToDate }
                });
            }
            self.windows.received(channel, size);
            self.waiting[channel] += size;
            self.arrived[channel] += size;
        }

        /// Steps until as much has arrived on the channel.
        fn until(&mut self, channel: usize, bytes: usize) -> usize {
            let began = self.step;
            while self.arrived[channel] < bytes {
                self.step();
                assert!(self.step - began < 1_000_000, "no progress: {:?}", self.windows);
            }
            self.step - began
        }
    }

    const UPLOAD: usize = 100 << 20;

    #[test]
    fn a_channel_that_is_behind_slows_down_no_other() {
        for latency in [1, 10, 100] {
            let alone = Run::new(&[None], latency).until(0, UPLOAD);
            for rates in [
                &[None, Some(0)][..],
                &[None, Some(100)],
                &[None, Some(PACKET / 2)],
                &[None, Some(0), Some(0), Some(1000)],
            ] {
                let mut run = Run::new(rates, latency);
                let beside = run.until(0, UPLOAD);
                assert!(beside <= alone * 3, "{rates:?} at {latency}: {beside} steps, alone {alone}");
                assert!(run.waiting.iter().all(|waiting| *waiting < PLENTY), "{:?}", run.waiting);
            }
        }
    }

    #[test]
    fn two_uploads_share_what_there_is() {
        let mut run = Run::new(&[None, None, Some(0)], 10);
        run.until(0, UPLOAD);
        assert!(run.arrived[1] > UPLOAD / 3, "{}", run.arrived[1]);
    }

    #[test]
    fn one_that_was_behind_gets_on_at_its_readers_rate() {
        let mut run = Run::new(&[None, Some(PACKET / 4)], 10);
        let steps = run.until(1, UPLOAD / 4);
        assert!(steps < 2 * (UPLOAD / PACKET), "{steps} steps");
    }

    #[test]
    fn where_nobody_is_behind_windows_are_whole_ones() {
        let mut windows = Windows::default();
        assert_eq!(windows.opened(1, TRICKLE, 0, |_| Reader::UpToDate), WINDOW);
        assert_eq!(windows.opened(1, WINDOW, PLENTY, |_| Reader::UpToDate), WINDOW / 8);
        assert_eq!(windows.opened(1, WINDOW, TOO_MUCH, |_| Reader::UpToDate), TRICKLE);
    }

    #[test]
    fn who_is_behind_pauses_only_where_nobody_waits_for_that() {
        let mut windows = Windows::default();
        let reader = |channel| if channel == 1 { Reader::Behind } else { Reader::UpToDate };
        windows.opened(1, TRICKLE, 0, reader);
        windows.received(1, 2);
        assert!(windows.should_pause(1));
        windows.received(2, PACKET * 2);
        assert!(!windows.should_pause(1) && windows.should_pause(1));
        windows.opened(2, TRICKLE, 0, reader);
        assert!(!windows.should_pause(1));
        // It asks twice, and the other one says nothing more.
        windows.opened(1, TRICKLE, 0, reader);
        assert!(windows.should_pause(1));
    }

    #[test]
    fn a_channel_that_is_behind_and_says_nothing_is_not_waited_for() {
        let mut windows = Windows::default();
        let reader = |channel| if channel == 1 { Reader::Behind } else { Reader::UpToDate };
        assert_eq!(windows.opened(1, WINDOW, 0, reader), TRICKLE);
        assert_eq!(windows.opened(2, TRICKLE, 0, reader), TRICKLE);
        assert_eq!(windows.opened(2, TRICKLE, 0, reader), WINDOW);
        assert_eq!(windows.opened(2, WINDOW, 0, reader), WINDOW);
        // Until it says something.
        windows.received(1, PACKET);
        assert_eq!(windows.opened(2, WINDOW, 0, reader), TRICKLE);
    }

    #[test]
    fn where_each_channel_is_asked_for_only_who_is_behind_is_shut() {
        assert_eq!(own_window(Reader::Behind, 0), SHUT);
        for reader in [Reader::UpToDate, Reader::Gone] {
            assert_eq!(own_window(reader, PLENTY - 1), WINDOW);
            assert_eq!(own_window(reader, PLENTY), WINDOW / 8);
            assert_eq!(own_window(reader, TOO_MUCH), TRICKLE);
        }
    }
}
