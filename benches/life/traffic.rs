//! Who comes when, with what wish: life as section 5 of the design assumed it, drawn from a seed.

const HOUR: f64 = 3600.0;
const DAY: u64 = 86_400;
const CARDS: f64 = 8.0;
const SIZES: [(f64, usize); 4] = [(0.45, 1), (0.70, 2), (0.90, 4), (1.0, 8)];
/// They make half of the requests.
const HEAVY_USERS: u64 = 3;
const USERS: u64 = 20;
/// Work lasts this long at the median, and no longer than a day.
const MEDIAN_HOURS: f64 = 3.0;
const SPREAD: f64 = 1.0;
const LONGEST_HOURS: f64 = 24.0;
/// From 21 to 9 o'clock one comes where four would come by day.
const AT_NIGHT: f64 = 0.25;
/// Leases that people ask for, in hours.
const LEASES: [u64; 5] = [2, 4, 8, 24, 48];

/// What somebody wants; times are in seconds from the beginning.
#[derive(Debug, Clone)]
pub struct Wish {
    pub id: i64,
    pub user: String,
    pub is_heavy: bool,
    pub cards: usize,
    pub comes: u64,
    /// How long there is work for the cards.
    pub work: u64,
    pub lease: u64,
    /// Gives the cards back when the work is done; else they are forgotten.
    pub gives_back: bool,
}

#[derive(Clone, Copy)]
pub struct Traffic {
    /// Of all card-hours, how many have work.
    pub load: f64,
    pub days: u64,
    /// The lease of those who do not need more; `None` where everybody asks for one to three times the work.
    pub default_lease_hours: Option<u64>,
    /// How many of ten give their cards back when the work is done.
    pub give_back_of_ten: u64,
}

pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 0 to 1, both excluded.
    fn share(&mut self) -> f64 {
        let top = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        (f64::from(top) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.share(), self.share());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

pub fn wishes(traffic: Traffic, seed: u64) -> Vec<Wish> {
    let random = &mut Random(seed.wrapping_mul(0x1234_5678_9abc_def1));
    // What one request brings on the average is drawn, as the tail of the work is cut.
    let sample: f64 = (0..20_000).map(|_| work_hours(random) * size(random).1).sum::<f64>() / 20_000.0;
    let by_day = traffic.load * CARDS / sample / f64::midpoint(1.0, AT_NIGHT);
    let end = traffic.days * DAY;
    let mut wishes = Vec::new();
    let mut time = 0.0;
    loop {
        time += -random.share().ln() / by_day * HOUR;
        let comes = whole(time);
        if comes >= end {
            return wishes;
        }
        let hour = comes / 3600 % 24;
        if (9..21).contains(&hour) || random.share() < AT_NIGHT {
            wishes.push(wish(traffic, i64::try_from(wishes.len()).unwrap_or_default() + 1, comes, random));
        }
    }
}

fn wish(traffic: Traffic, id: i64, comes: u64, random: &mut Random) -> Wish {
    let is_heavy = random.below(2) == 0;
    let number =
        if is_heavy { random.below(HEAVY_USERS) } else { HEAVY_USERS + random.below(USERS - HEAVY_USERS) };
    let hours = work_hours(random);
    let asked = match traffic.default_lease_hours {
        None => hours * (1.0 + 2.0 * random.share()),
        Some(_) => hours,
    };
    let least = traffic.default_lease_hours.unwrap_or_default();
    let enough =
        |lease: &u64| *lease >= least && u32::try_from(*lease).is_ok_and(|lease| f64::from(lease) >= asked);
    let lease = LEASES.iter().copied().find(enough).unwrap_or(48).max(least) * 3600;
    Wish {
        id,
        user: format!("user{number}"),
        is_heavy,
        cards: size(random).0,
        comes,
        work: whole(hours * HOUR).max(60),
        lease,
        gives_back: random.below(10) < traffic.give_back_of_ten,
    }
}

fn work_hours(random: &mut Random) -> f64 {
    (MEDIAN_HOURS * (SPREAD * random.normal()).exp()).min(LONGEST_HOURS)
}

/// A number of cards, twice.
fn size(random: &mut Random) -> (usize, f64) {
    let share = random.share();
    let cards = SIZES.iter().find(|(up_to, _)| share < *up_to).map_or(1, |(_, cards)| *cards);
    (cards, u32::try_from(cards).map_or(1.0, f64::from))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of some weeks, not negative"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}
