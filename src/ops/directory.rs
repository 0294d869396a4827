//! Which account has a uid of the host, and whether it is in a group. Answers are cached for a moment, because a
//! directory service may be slow or down, and hundreds of callers may ask at once. It is never asked about root.

use crate::host::Host;
use crate::host::accounts::{Groups, Member, Source, groups_of, member_by_uid, uids_in_group};
use crate::host::clock::Clock;
use crate::model::clock::{BootTime, Moment as _};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long an answer is cached. A member who is removed from the group stays an administrator that much longer.
const KNOWN: Duration = Duration::from_secs(20);
/// How long the answer that there is no such account is cached.
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long the directory is not asked again after it did not answer.
const AWAY: Duration = Duration::from_secs(10);
/// How many uids are cached.
const MOST: usize = 4096;
/// How many questions to the directory may run at once.
const AT_ONCE: usize = 4;

type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;
type Slots<T> = Mutex<HashMap<u32, Slot<T>>>;

/// Which groups of a list an account was in.
struct Listed {
    at: BootTime,
    list: Vec<String>,
    groups: Groups,
}

/// The cached answers.
pub(super) struct Directory {
    clock: Arc<dyn Clock>,
    slots: Slots<(BootTime, Member)>,
    group_slots: Slots<Listed>,
    asking: Semaphore,
    away_until: Mutex<Option<BootTime>>,
    /// Accounts that were in the group at the last answer about them, or at the last look at the whole group.
    members: Mutex<BTreeSet<u32>>,
}

impl Directory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            slots: Mutex::default(),
            group_slots: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
            away_until: Mutex::default(),
            members: Mutex::default(),
        }
    }

    fn now(&self) -> BootTime {
        self.clock.now().boot
    }

    /// The account with this uid, and whether it is in the group. Of many callers that ask about one uid at once,
    /// one looks and the others wait for its answer.
    pub(super) async fn member(&self, host: Arc<dyn Host>, uid: u32, group: &'static str) -> Member {
        let slot = slot_of(&self.slots, uid);
        let mut slot = slot.lock().await;
        if let Some((at, member)) = &*slot
            && self.now().since(*at) < lasts(member)
        {
            return member.clone();
        }
        let look = move |source| member_by_uid(&*host, uid, group, source);
        let asked = self.ask(uid, look, |member: &Member| member.sure).await;
        let member = asked.unwrap_or(Member { account: None, is_member: false, sure: false });
        self.note(uid, &member);
        *slot = Some((self.now(), member.clone()));
        member
    }

    /// The groups of this list that the account is in. Where the directory does not answer, also those that it was in at
    /// the last answer.
    pub(super) async fn groups(&self, host: Arc<dyn Host>, uid: u32, list: &[String]) -> Vec<String> {
        let slot = slot_of(&self.group_slots, uid);
        let mut slot = slot.lock().await;
        let known = slot.as_ref().filter(|known| known.list == list);
        if let Some(known) = known
            && self.now().since(known.at) < if known.groups.sure { KNOWN } else { AWAY }
        {
            return known.groups.names.clone();
        }
        let asked = list.to_vec();
        let look = move |source| groups_of(&*host, uid, &asked, source);
        let mut groups = self.ask(uid, look, |groups: &Groups| groups.sure).await.unwrap_or_default();
        if let Some(known) = known.filter(|_| !groups.sure) {
            groups.names.extend(known.groups.names.iter().cloned());
            groups.names.sort_unstable();
            groups.names.dedup();
        }
        let names = groups.names.clone();
        *slot = Some(Listed { at: self.now(), list: list.to_vec(), groups });
        names
    }

    /// Looks when its turn comes, and notes where the directory service did not answer. `None`: the look ended in a panic.
    async fn ask<T: Send + 'static>(
        &self,
        uid: u32,
        look: impl FnOnce(Source) -> T + Send + 'static,
        is_sure: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let _turn = self.asking.acquire().await;
        let source = if self.is_away() { Source::Files } else { Source::Getent };
        let found = tokio::task::spawn_blocking(move || look(source)).await.ok();
        if source == Source::Getent && !found.as_ref().is_some_and(is_sure) {
            tracing::warn!(uid, "getent does not answer: accounts are known by the files alone for a while");
            *lock(&self.away_until) = Some(self.now() + AWAY);
        }
        found
    }

    /// Reads the members of the group, before any of them calls.
    pub(super) async fn expect(&self, host: Arc<dyn Host>, group: &'static str, source: Source) {
        let source = if self.is_away() { Source::Files } else { source };
        let looking = tokio::task::spawn_blocking(move || uids_in_group(&*host, group, source));
        let found = looking.await.unwrap_or_default();
        lock(&self.members).extend(found);
    }

    /// Whether this account is known to be in the group. It answers from memory.
    pub(super) fn was_member(&self, uid: u32) -> bool {
        lock(&self.members).contains(&uid)
    }

    fn note(&self, uid: u32, member: &Member) {
        if member.is_member {
            lock(&self.members).insert(uid);
        } else if member.sure {
            lock(&self.members).remove(&uid);
        }
    }

    fn is_away(&self) -> bool {
        lock(&self.away_until).is_some_and(|until| self.now() < until)
    }
}

fn slot_of<T>(slots: &Slots<T>, uid: u32) -> Slot<T> {
    let mut slots = lock(slots);
    if slots.len() >= MOST && !slots.contains_key(&uid) {
        // Those that somebody waits for stay.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1);
    }
    slots.entry(uid).or_default().clone()
}

fn lasts(member: &Member) -> Duration {
    match member {
        Member { sure: false, .. } => AWAY,
        Member { account: None, .. } => UNKNOWN,
        Member { .. } => KNOWN,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;
    use crate::host::clock::TestClock;

    fn directory() -> (Directory, Arc<TestClock>) {
        let clock = TestClock::at("2026-01-01T08:00:00Z");
        (Directory::new(clock.clone()), clock)
    }

    #[tokio::test]
    async fn a_directory_is_asked_once_and_left_alone_when_it_hangs() {
        let (directory, clock) = directory();
        let alice = "alice:x:1001:100:A:/home/alice:/bin/bash\n";
        let answers: Arc<dyn Host> =
            Arc::new(FakeHost::default().with_output("getent passwd -- 1001", 0, alice, "").with_output(
                "getent group -- g",
                2,
                "",
                "",
            ));
        assert!(directory.member(answers, 1001, "g").await.account.is_some());
        // Nothing answers any more: what is known is not asked again, and the next is asked for once.
        let hangs: Arc<dyn Host> =
            Arc::new(FakeHost::default().with_hang("getent passwd -- 7").with_file("/etc/passwd", alice));
        assert!(directory.member(hangs.clone(), 1001, "g").await.sure);
        assert!(!directory.is_away());
        assert!(!directory.member(hangs.clone(), 7, "g").await.sure && directory.is_away());
        // A FakeHost refuses what it was not told of: the files alone were read.
        assert!(!directory.member(hangs.clone(), 1002, "g").await.sure);
        // After a while it is asked again, and what was known is not known any more.
        clock.pass(AWAY.max(KNOWN));
        assert!(!directory.is_away() && !directory.member(hangs, 1001, "g").await.sure);
        assert!(directory.is_away());
    }

    #[tokio::test]
    async fn groups_are_asked_for_once_and_stay_where_nobody_answers() {
        let (directory, clock) = directory();
        let list = ["class".to_owned(), "staff".to_owned()];
        let answers: Arc<dyn Host> = Arc::new(
            FakeHost::default()
                .with_output("getent passwd -- 1001", 0, "alice:x:1001:100::/:/bin/sh\n", "")
                .with_output("getent group -- class", 0, "class:x:991:alice\n", "")
                .with_output("getent group -- staff", 2, "", ""),
        );
        assert_eq!(directory.groups(answers.clone(), 1001, &list).await, ["class"]);
        let hangs: Arc<dyn Host> = Arc::new(
            FakeHost::default()
                .with_hang("getent passwd -- 1001")
                .with_file("/etc/passwd", "alice:x:1001:100::/:/bin/sh\n")
                .with_file("/etc/group", "staff:x:990:alice\n"),
        );
        assert_eq!(directory.groups(hangs.clone(), 1001, &list).await, ["class"], "not asked again");
        assert!(!directory.is_away());
        clock.pass(KNOWN);
        assert_eq!(directory.groups(hangs.clone(), 1001, &list).await, ["class", "staff"]);
        assert!(directory.is_away());
        assert_eq!(
            directory.groups(hangs, 1001, &list[1..]).await,
            ["staff"],
            "of another list nothing was known"
        );
        clock.pass(AWAY);
        assert_eq!(directory.groups(answers, 1001, &list).await, ["class"]);
    }

    #[tokio::test]
    async fn a_member_is_known_before_they_first_ask() {
        let (directory, _) = directory();
        let files: Arc<dyn Host> = Arc::new(
            FakeHost::default()
                .with_file("/etc/passwd", "alice:x:1001:100::/:/bin/sh\nbob:x:1002:100::/:/bin/sh\n")
                .with_file("/etc/group", "g:x:990:alice\n"),
        );
        directory.expect(files, "g", Source::Files).await;
        assert!(directory.was_member(1001) && !directory.was_member(1002));
    }

    #[test]
    fn who_was_a_member_is_one_until_it_is_sure_that_they_are_not() {
        let (directory, _) = directory();
        let note = |is_member, sure| {
            directory.note(7, &Member { account: None, is_member, sure });
            directory.was_member(7)
        };
        assert!(!directory.was_member(7));
        assert!(note(true, true) && note(false, false) && !note(false, true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (directory, _) = directory();
        let kept = slot_of(&directory.slots, 0);
        for uid in 1..=u32::try_from(MOST).unwrap() + 10 {
            slot_of(&directory.slots, uid);
        }
        assert!(lock(&directory.slots).len() <= MOST);
        assert!(Arc::ptr_eq(&kept, &slot_of(&directory.slots, 0)));
    }
}
