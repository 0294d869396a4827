//! A berth's work, minute by minute, on a clock that the test turns.

use super::*;
use crate::host::clock::TestClock;
use crate::ledger::NewTicket;
use crate::life::{self, Action, Why};
use crate::model::CardWish;
use crate::model::facts::{NpuError, NpuProcess, NpuTrouble};
use crate::ops::Survey;
use crate::ops::cards::{self, Snapshot, tests::npu, tests::seen};
use crate::ops::clock_tests::live_berth;
use crate::ops::usage::{UsageBy, UsageQuery, UsageRow};
use std::sync::Arc;

struct Minutes {
    clock: Arc<TestClock>,
    node: Arc<Node>,
    _dir: tempfile::TempDir,
    berth: Berth,
    npu: NpuFacts,
    /// CPU seconds of a minute, which add up to `cpu`.
    busy: f64,
    cpu: Duration,
    bytes: u64,
    typed: u64,
    is_wanted: bool,
    started: u32,
}

impl Minutes {
    /// Alice has card 0 and does nothing.
    fn start() -> Self {
        let clock = TestClock::at("2026-01-01T08:00:00Z");
        let (node, dir) = Node::for_test(clock.clone());
        let berth = live_berth(&node);
        let mut npu = npu();
        for device in &mut npu.devices {
            (device.aicore_percent, device.hbm_used_mib, device.hbm_total_mib) =
                (Some(0), Some(3000), Some(65_536));
        }
        let (busy, cpu, bytes, typed, is_wanted, started) = (0.5, Duration::ZERO, 300, 0, false, 1);
        Self { clock, node, _dir: dir, berth, npu, busy, cpu, bytes, typed, is_wanted, started }
    }

    fn pass(&mut self, minutes: u32) {
        for _ in 0..minutes {
            self.clock.pass(Duration::from_mins(1));
            self.cpu += Duration::from_secs_f64(self.busy);
            let now = self.node.now();
            self.node.note_traffic(
                self.berth.id,
                now.wall,
                &InsideTraffic::new(60, self.bytes, 0, self.typed),
            );
            self.look();
        }
    }

    fn look(&self) {
        let start = Start {
            container: "c1".into(),
            started_at: Some(self.started.to_string()),
            cards: self.berth.cards.clone(),
        };
        let looked = Looked { start, at: self.node.now().boot, cpu: Some(self.cpu) };
        self.node.sample(&self.berth, looked, &self.npu, self.is_wanted);
    }

    fn idle(&self) -> Option<IdleView> {
        self.node.idle_views(std::slice::from_ref(&self.berth)).remove(&self.berth.id)
    }

    async fn decided(&self) -> Vec<Action> {
        let settings = self.node.settings();
        let seen = Snapshot { berths: vec![self.berth.clone()], ..seen() };
        let view = cards::view(self.node.accel(), &settings.profile, &self.npu, &seen, &BTreeMap::new());
        let slots = cards::slots(self.node.accel(), &settings.profile, &self.npu, &view);
        let survey = Survey { cards: view, npu: Arc::new(self.npu.clone()), slots, not_looked: None };
        life::decide(&self.node.situation(Some(&survey)).await.unwrap())
    }

    /// Bob waits for alice's card.
    fn wait(&self) {
        let ledger = self.node.ledger_handle();
        ledger.add_user("bob", None, &[], &self.node.event("user.added", "root", "t")).unwrap();
        let new = NewTicket {
            owner: "bob".into(),
            berth: None,
            wish: CardWish::Ids(vec![0]),
            lease: Duration::from_hours(1),
            unattended: false,
            request: None,
        };
        ledger.add_ticket(&new, &self.node.event("ticket.waits", "bob", "t")).unwrap();
    }
}

#[tokio::test]
async fn a_berth_that_does_nothing_is_asked_back_when_somebody_waits() {
    let mut alice = Minutes::start();
    alice.pass(119);
    assert_eq!(alice.idle(), None);
    alice.pass(2);
    let idle = alice.idle().unwrap();
    assert_eq!((idle.code, idle.since.to_string()), (IdleCode::Idle, "2026-01-01T08:02:00Z".into()));
    assert_eq!((idle.evidence.samples, idle.evidence.ssh_bytes), (120, 300));
    assert_eq!(alice.decided().await, [], "nobody waits");
    let unattended = Berth { unattended: true, ..alice.berth.clone() };
    assert!(alice.node.idle_views(&[unattended]).is_empty());
    alice.wait();
    let decided = alice.decided().await;
    let [Action::Announce { berth, why: Why::Idle, stops_at }] = decided[..] else { panic!("{decided:?}") };
    assert_eq!((berth, stops_at), (alice.berth.id, alice.node.now().wall + Duration::from_mins(15)));
    // One minute of work, and it is nobody's.
    alice.npu.devices[0].aicore_percent = Some(60);
    alice.pass(1);
    assert_eq!((alice.idle(), alice.decided().await), (None, vec![]));
}

#[tokio::test]
async fn a_loaded_model_has_longer() {
    let mut alice = Minutes::start();
    alice.npu.devices[0].processes =
        vec![NpuProcess { pid: 70, name: "python".into(), memory_mib: 2000, container_pid: None }];
    alice.pass(125);
    assert_eq!(alice.idle().unwrap().code, IdleCode::Parked);
    alice.wait();
    let decided = alice.decided().await;
    let [Action::Announce { why: Why::Parked, stops_at, .. }] = decided[..] else { panic!("{decided:?}") };
    assert_eq!(stops_at, alice.node.now().wall + Duration::from_hours(1));
}

#[tokio::test]
async fn a_clock_that_is_set_makes_nobody_idle() {
    let mut alice = Minutes::start();
    alice.pass(60);
    alice.clock.set("2027-01-01T08:00:00Z");
    alice.pass(1);
    assert_eq!(alice.idle(), None);
    alice.clock.set("2020-01-01T08:00:00Z");
    alice.pass(64);
    assert_eq!(alice.idle().unwrap().since.to_string(), "2020-01-01T07:01:00Z");
}

#[tokio::test]
async fn what_is_not_measured_is_not_idle() {
    let silent = |alice: &mut Minutes| {
        for _ in 0..125 {
            alice.clock.pass(Duration::from_mins(1));
            alice.look();
        }
    };
    // A server inside that says nothing.
    let mut alice = Minutes::start();
    silent(&mut alice);
    assert_eq!(alice.idle(), None);
    // What it said long ago is read again after a start of the agent.
    let long_ago = alice.node.now().wall - Duration::from_mins(5);
    alice.node.note_traffic(alice.berth.id, long_ago, &InsideTraffic::new(60, 0, 0, 0));
    alice.look();
    assert!(alice.node.samples.lock().berths[&alice.berth.id].samples.is_empty());
    // An npu-smi that fails.
    let mut alice = Minutes::start();
    alice.npu.error = Some(NpuError {
        trouble: NpuTrouble::Other,
        code: None,
        meaning: "hangs".into(),
        remedy: String::new(),
    });
    alice.pass(125);
    assert_eq!(alice.idle(), None);
    // A card that it says nothing about.
    let mut alice = Minutes::start();
    alice.npu.devices[0].aicore_percent = None;
    alice.pass(125);
    assert_eq!(alice.idle(), None);
}

#[tokio::test]
async fn another_start_of_the_container_begins_anew() {
    let mut alice = Minutes::start();
    alice.pass(100);
    (alice.started, alice.cpu) = (2, Duration::ZERO);
    alice.pass(100);
    assert_eq!(alice.idle(), None);
    alice.pass(25);
    assert!(alice.idle().is_some());
}

#[tokio::test]
async fn a_berth_that_its_owner_keeps_is_not_idle_for_a_window() {
    let mut alice = Minutes::start();
    alice.pass(125);
    alice.node.watch_anew(alice.berth.id);
    alice.pass(119);
    assert_eq!(alice.idle(), None);
    alice.pass(3);
    assert!(alice.idle().is_some());
}

#[tokio::test]
async fn typing_and_computing_are_work() {
    let mut alice = Minutes::start();
    alice.bytes = 3000;
    alice.pass(125);
    assert_eq!(alice.idle(), None);
    (alice.bytes, alice.typed) = (60, 1);
    alice.pass(125);
    assert_eq!(alice.idle(), None);
    (alice.typed, alice.busy) = (0, 30.0);
    alice.pass(125);
    assert_eq!(alice.idle(), None);
    alice.busy = 0.1;
    alice.pass(125);
    assert!(alice.idle().is_some());
}

#[tokio::test]
async fn used_and_idle_time_is_counted_and_held_time_is_exact() {
    let mut alice = Minutes::start();
    alice.npu.devices[0].aicore_percent = Some(60);
    alice.pass(61);
    alice.npu.devices[0].aicore_percent = Some(0);
    // A look that missed hours stands for two minutes of them.
    alice.clock.pass(Duration::from_hours(3));
    alice.pass(121);
    alice.is_wanted = true;
    alice.pass(30);
    let node = alice.node.clone();
    let row = async |by| {
        let usage = node.usage(&UsageQuery { since: Some(3 * 86_400), by, user: None }).await.unwrap();
        let [row] = &usage.rows[..] else { panic!("{usage:?}") };
        row.clone()
    };
    let held = u64::from(61 + 3 * 60 + 121 + 30_u32) * 60;
    let sums = UsageRow { key: "alice".into(), held, used: 3600, idle_wanted: 1800 };
    assert_eq!(row(UsageBy::User).await, sums);
    assert_eq!(row(UsageBy::Card).await, UsageRow { key: "0".into(), ..sums.clone() });
    assert_eq!(row(UsageBy::Image).await, UsageRow { key: "i".into(), ..sums.clone() });
    // It was written, once.
    assert!(node.samples.spent().is_empty());
    assert_eq!(row(UsageBy::User).await, sums);
    let nobody = UsageQuery { user: Some("bob".into()), ..UsageQuery::default() };
    assert_eq!(node.usage(&nobody).await.unwrap().rows, []);
    assert!(node.usage(&UsageQuery { since: Some(400 * 86_400), ..nobody }).await.is_err());
}
