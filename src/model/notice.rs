//! What owners are told about the lease of a berth: each message is one text, made here from typed values.

use super::StopReason;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Something that the owner of a live berth is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its lease ends soon.
    Ending { until: Timestamp, waiting: usize, unattended: bool },
    /// It is stopped, unless its owner does something.
    Stops { at: Timestamp, why: StopReason, waits: Waits, renewable: bool },
    /// An announced stop is taken back: nobody needs the cards, or it is not idle any more.
    StopsNot { works: bool },
    /// An announced stop is taken back, because its owner needs the berth.
    Kept,
    /// An announced stop is taken back, because the lease was renewed.
    Renewed { until: Timestamp },
}

/// Who waits for the cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// One request: whose, and what for.
    One {
        owner: String,
        wish: String,
    },
    More(usize),
}

/// The berth that a text is about, and the clock of its readers.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub owner: &'a str,
    pub name: &'a str,
    pub clock: Clock,
}

/// A time, and how the node's clock on the wall shows it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub now: Timestamp,
    /// Seconds east of UTC.
    pub utc_offset: i32,
}

impl Notice {
    /// One line, without its end.
    pub fn text(&self, about: &About<'_>) -> String {
        let About { owner, name, clock } = about;
        match self {
            Self::Ending { until, waiting, unattended } => {
                let then = match waiting {
                    _ if *unattended => "it is stopped then, and its container stays".to_owned(),
                    0 => "nobody waits for cards, so that it may go on after that".to_owned(),
                    count => format!("{}, and it may be asked back after that", requests_wait(*count)),
                };
                let until = clock.time_and_distance(*until);
                format!(
                    "the lease of {owner}/{name} ends at {until}: {then}. A new lease: berth renew {name}"
                )
            }
            Self::Stops { at, why, waits, renewable } => {
                let at = clock.time_and_distance(*at);
                let what_to_do = match why {
                    StopReason::Idle => format!("Keep it: berth keep {name}"),
                    _ if *renewable => format!("Keep it: berth renew {name}"),
                    _ => format!(
                        "Save your work; its files and its container stay, and berth start {name} brings it back"
                    ),
                };
                let because = because(*why, waits);
                format!("{owner}/{name} stops at {at}: {because}. {what_to_do}")
            }
            Self::StopsNot { works: false } => {
                format!("{owner}/{name} is not stopped: nobody needs its cards any more")
            }
            Self::StopsNot { works: true } => {
                format!("{owner}/{name} is not stopped: it is not idle any more")
            }
            Self::Kept => format!("{owner}/{name} is not stopped: it is kept"),
            Self::Renewed { until } => {
                let until = clock.time_and_distance(*until);
                format!("{owner}/{name} is not stopped: its lease was renewed and ends at {until}")
            }
        }
    }
}

/// Why a berth is stopped that its owner did not stop.
fn because(why: StopReason, waits: &Waits) -> String {
    match why {
        StopReason::Idle => format!("it does nothing, and {waits}"),
        StopReason::Unattended => "its lease is over".into(),
        StopReason::Unused => "nobody logged in to it in time".into(),
        StopReason::Lease | StopReason::Asked | StopReason::Failed => {
            format!("its lease is over, and {waits}")
        }
    }
}

/// `1 request waits for cards`, `3 requests wait for cards`.
pub fn requests_wait(count: usize) -> String {
    if count == 1 { "1 request waits for cards".into() } else { format!("{count} requests wait for cards") }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One { owner, wish } => write!(f, "{owner} waits for {wish}"),
            Self::More(0) => f.write_str("somebody waits for cards"),
            Self::More(count) => f.write_str(&requests_wait(*count)),
        }
    }
}

impl Clock {
    /// `15:20 (in 15 min)`, with the date where it is another day; `15:20 (2 h ago)`.
    pub fn time_and_distance(&self, time: Timestamp) -> String {
        let distance = time.duration_since(self.now);
        let length = length(distance);
        let distance = if distance.is_negative() { format!("{length} ago") } else { format!("in {length}") };
        format!("{} ({distance})", self.time(time))
    }

    fn time(&self, time: Timestamp) -> String {
        let zone = Offset::from_seconds(self.utc_offset).map_or(TimeZone::UTC, TimeZone::fixed);
        let (local, today) = (time.to_zoned(zone.clone()), self.now.to_zoned(zone));
        let format = if local.date() == today.date() { "%H:%M" } else { "%-d %b, %H:%M" };
        local.strftime(format).to_string()
    }
}

/// A length of time for people: `40 s`, `15 min`, `2 h 10 min`, `3 days`. Minutes are rounded to the nearest.
fn length(time: SignedDuration) -> String {
    let seconds = time.unsigned_abs().as_secs();
    let minutes = (seconds + 30) / 60;
    let (hours, rest) = (minutes / 60, minutes % 60);
    match (seconds, hours) {
        (0..120, _) => format!("{seconds} s"),
        (_, 0) => format!("{minutes} min"),
        (_, 48..) => format!("{} days", (hours + 12) / 24),
        (_, _) if rest == 0 => format!("{hours} h"),
        (_, _) => format!("{hours} h {rest} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About<'static> {
        let clock = Clock { now: "2026-01-02T07:05:00Z".parse().unwrap(), utc_offset: 8 * 3600 };
        About { owner: "alice", name: "dev", clock }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_stop_is_announced_with_its_time_its_reason_and_what_prevents_it() {
        let one = Waits::One { owner: "bob".into(), wish: "2 cards".into() };
        let stops = |waits, renewable| Notice::Stops {
            at: at("2026-01-02T07:20:00Z"),
            why: StopReason::Lease,
            waits,
            renewable,
        };
        assert_eq!(
            stops(one, true).text(&about()),
            "alice/dev stops at 15:20 (in 15 min): its lease is over, and bob waits for 2 cards. Keep it: berth renew dev"
        );
        assert_eq!(
            stops(Waits::More(3), false).text(&about()),
            "alice/dev stops at 15:20 (in 15 min): its lease is over, and 3 requests wait for cards. Save your work; its files \
             and its container stay, and berth start dev brings it back"
        );
    }

    #[test]
    fn a_warning_says_what_happens_after_the_lease() {
        let ending = |waiting| {
            Notice::Ending { until: at("2026-01-02T07:35:00Z"), waiting, unattended: false }.text(&about())
        };
        assert_eq!(
            ending(0),
            "the lease of alice/dev ends at 15:35 (in 30 min): nobody waits for cards, so that it may go on after that. \
             A new lease: berth renew dev"
        );
        assert!(ending(1).contains("1 request waits for cards, and it may be asked back after that"));
        let renewed = Notice::Renewed { until: at("2026-01-02T17:05:00Z") }.text(&about());
        assert_eq!(
            renewed,
            "alice/dev is not stopped: its lease was renewed and ends at 3 Jan, 01:05 (in 10 h)"
        );
    }

    #[test]
    fn lengths_are_said_as_people_say_them() {
        let said = |seconds| length(SignedDuration::from_secs(seconds));
        let all = [0, 40, 119, 120, 900, 3570, 7800, -7200, 200_000].map(said);
        assert_eq!(all, ["0 s", "40 s", "119 s", "2 min", "15 min", "1 h", "2 h 10 min", "2 h", "2 days"]);
        assert!(about().clock.time_and_distance(at("2026-01-02T06:05:00Z")).ends_with("(1 h ago)"));
    }
}
