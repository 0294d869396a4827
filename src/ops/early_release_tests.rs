//! The disk runs full, on a node whose clock and disk the test turns. No engine is there: a release is decided, and not
//! begun, because nobody can say whether the container runs.

use super::clock_tests::live_berth;
use super::{Caller, Count, Node};
use crate::host::clock::TestClock;
use crate::host::room::Space;
use crate::ledger::NewTicket;
use crate::life::early::{Relief, make_room};
use crate::model::{Berth, BerthState, CardWish, LeaseState, LockRequest, StopReason};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const START: &str = "2026-01-01T08:00:00Z";
const GIB: u64 = 1 << 30;

struct Disk {
    clock: Arc<TestClock>,
    node: Arc<Node>,
    berth: Berth,
    count: Count,
    _dir: TempDir,
}

fn root() -> Caller {
    Caller { name: "root".into(), admin: true, user: None }
}

fn alice() -> Caller {
    Caller { name: "alice".into(), admin: false, user: Some("alice".into()) }
}

/// A node with one stopped berth, which has 3 GiB in its container.
fn start() -> Disk {
    let clock = TestClock::at(START);
    let (node, dir) = Node::for_test(clock.clone());
    let id = live_berth(&node).id;
    let ledger = node.ledger_handle();
    ledger.begin_stop(id, StopReason::Asked, &node.event("berth.stopping", "alice", "t")).unwrap();
    let kept = node.now().wall + Duration::from_hours(7 * 24);
    let berth = ledger.stopped(id, kept, &node.event("berth.stopped", "alice", "t")).unwrap();
    Disk { clock, node, berth, count: Count::default(), _dir: dir }
}

impl Disk {
    /// A look at a disk of 100 GiB, of which 5 are to stay free, and then a decision.
    async fn sees(&mut self, free_gib: u64) -> Berth {
        let space = Space { total: 100 * GIB, available: free_gib * GIB };
        self.node.data_disk.note(self.node.now().boot, space, &self.berth, 3 * GIB);
        self.decides().await
    }

    async fn decides(&mut self) -> Berth {
        self.node.keep_leases(&mut self.count).await.unwrap();
        let berth = self.node.ledger_berth(self.berth.id).await.unwrap();
        self.node.with_lease_state(berth)
    }

    /// In steps, as time passes for an agent that is there.
    async fn pass(&mut self, hours: u64, free_gib: u64) -> Berth {
        let mut berth = self.decides().await;
        for _ in 0..hours * 2 {
            self.clock.pass(Duration::from_mins(30));
            berth = self.sees(free_gib).await;
        }
        berth
    }

    /// Whether it would go now.
    async fn is_due(&self) -> bool {
        let shelf = self.node.shelf().await.unwrap().unwrap();
        make_room(&shelf) == [Relief::Release { berth: self.berth.id }]
    }

    async fn told(&self) -> Vec<String> {
        let events = self.node.events(&root(), 0, 100).await.unwrap();
        let ours = events
            .into_iter()
            .filter(|event| event.kind.starts_with("berth.rel") || event.kind == "berth.kept");
        ours.map(|event| format!("{}: {}", event.kind, event.text)).collect()
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_a_day_later_it_is_done() {
    let mut disk = start();
    assert_eq!(disk.sees(5).await.condition, None, "that is enough");
    let berth = disk.sees(4).await;
    let release_at = berth.stop.as_ref().unwrap().release_at;
    assert_eq!(release_at.unwrap().to_string(), "2026-01-02T08:00:00Z");
    assert_eq!((berth.condition, berth.deadline), (Some(LeaseState::ReleaseSoon), release_at));
    let why = disk.node.why_not_live(&berth).await.unwrap();
    assert!(why.message.contains("it is released at "), "{why}");
    disk.pass(23, 4).await;
    assert!(!disk.is_due().await);
    disk.clock.pass(Duration::from_hours(1));
    assert!(!disk.is_due().await, "the last look is old");
    let berth = disk.sees(4).await;
    assert!(disk.is_due().await);
    assert_eq!(berth.state, BerthState::Stopped, "not without Docker, which knows whether it runs");
    let said = disk.told().await;
    assert_eq!(
        said,
        [
            "berth.release-soon: alice/train is released in 1day: Docker's disk has 4GiB free, and 5GiB are to be. Keep it: berth \
             keep train; files in personal storage stay in any case"
        ]
    );
}

#[tokio::test]
async fn room_that_came_back_takes_it_back() {
    let mut disk = start();
    disk.sees(4).await;
    assert_eq!(disk.sees(5).await.condition, Some(LeaseState::ReleaseSoon), "a little more does not");
    let berth = disk.sees(6).await;
    assert_eq!((berth.condition, berth.stop.unwrap().release_at), (None, None));
    assert_eq!(
        disk.told().await.last().unwrap(),
        "berth.release-withdrawn: alice/train is not released sooner: Docker's disk has room again"
    );
    let berth = disk.pass(30, 6).await;
    assert_eq!(berth.state, BerthState::Stopped);
}

#[tokio::test]
async fn what_its_owner_or_an_administrator_keeps_stays() {
    let mut disk = start();
    let kept = async |disk: &Disk| disk.node.keep_berth(&alice(), "train").await.unwrap().stop.unwrap();
    assert!(!kept(&disk).await.kept, "nobody wants it to go");
    disk.sees(4).await;
    let lock = LockRequest { seconds: 48 * 3600, why: "w".into() };
    disk.node.lock_berth(&root(), "train", lock).await.unwrap();
    assert_eq!(disk.sees(4).await.condition, None);
    assert!(disk.told().await.last().unwrap().ends_with("is not released sooner: it is needed"));
    assert_eq!(disk.pass(30, 0).await.state, BerthState::Stopped);
    disk.node.unlock_berth(&root(), "train").await.unwrap();
    assert_eq!(disk.sees(4).await.condition, Some(LeaseState::ReleaseSoon), "told anew");
    assert!(kept(&disk).await.kept);
    assert_eq!(disk.pass(48, 0).await.state, BerthState::Stopped);
    assert_eq!(
        disk.told().await.last().unwrap(),
        "berth.kept: alice/train is kept: it is not released sooner"
    );
    let ends = disk.pass(7 * 24, 0).await;
    assert_eq!(ends.state, BerthState::Releasing, "as long as any other");
}

#[tokio::test]
async fn whoever_waits_to_start_it_needs_it() {
    let mut disk = start();
    disk.sees(4).await;
    let ticket = NewTicket {
        owner: "alice".into(),
        berth: Some("train".into()),
        wish: CardWish::Count(1),
        lease: Duration::from_hours(1),
        unattended: false,
        request: None,
    };
    let event = disk.node.event("ticket.waits", "alice", "t");
    disk.node.ledger(move |ledger| ledger.add_ticket(&ticket, &event)).await.unwrap();
    assert_eq!(disk.sees(4).await.condition, None);
}

#[tokio::test]
async fn a_clock_that_is_set_releases_nobody() {
    let mut disk = start();
    disk.sees(4).await;
    disk.clock.set("2027-06-01T00:00:00Z");
    let berth = disk.sees(0).await;
    assert_eq!(berth.state, BerthState::Stopped);
    let left = berth.stop.unwrap().release_at.unwrap().duration_since(disk.node.now().wall);
    assert_eq!(left.as_hours(), 24);
    disk.pass(23, 0).await;
    assert!(!disk.is_due().await);
    disk.pass(2, 0).await;
    assert!(disk.is_due().await);
}
