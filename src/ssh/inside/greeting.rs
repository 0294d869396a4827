//! What a login shell with a terminal shows first: the cards, the lease, and what stays.

use super::berth::InsideBerth;
use crate::model::lease_file::LeaseFile;
use crate::model::notice::{Clock, requests_wait};
use crate::model::text::clean;
use crate::model::{StopReason, card};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;

/// Who has this at home is not greeted.
const QUIET: &str = ".hushlogin";
/// A home on storage that hangs does not delay the session for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The text, with the ends of its lines; `None` where there is nothing to say, or the user wants none.
pub(super) async fn for_shell(berth: &InsideBerth, home: &Path) -> Option<String> {
    let file = berth.notices.read()?;
    if is_unwanted(home).await {
        return None;
    }
    Some(text(&file, Timestamp::now()))
}

/// Only looked at, never opened: the file is the user's, and may be anything.
async fn is_unwanted(home: &Path) -> bool {
    let path = home.join(QUIET);
    let looking = tokio::task::spawn_blocking(move || std::fs::symlink_metadata(path).is_ok());
    matches!(tokio::time::timeout(PATIENCE, looking).await, Ok(Ok(true)))
}

fn text(file: &LeaseFile, now: Timestamp) -> String {
    let clock = Clock { now, utc_offset: file.utc_offset };
    let name = file.berth.split_once('/').map_or("", |(_, name)| name);
    let lease = match file.until {
        None => "It has no end.".to_owned(),
        Some(until) if until < now => format!("Its lease was over at {}.", clock.time_and_distance(until)),
        Some(until) => format!("Its lease ends at {}.", clock.time_and_distance(until)),
    };
    let storage = file.storage.display().to_string();
    let mut lines = vec![
        format!("berth {}: {} of this node. {lease}", file.berth, card::named(&file.cards)),
        format!("What is in {storage} stays for ever, all else until the berth is released."),
    ];
    if let Some(stops_at) = file.stops_at {
        let at = clock.time_and_distance(stops_at);
        lines.push(match file.reason {
            Some(StopReason::Unattended) => format!("It stops at {at}, with its lease."),
            Some(StopReason::Idle) => {
                format!("It stops at {at}: it did nothing, and somebody waits for cards. Keep it: berth keep {name}")
            }
            _ => format!("It stops at {at}: somebody waits for cards. Keep it: berth renew {name}"),
        });
    } else if file.waiting > 0 {
        lines.push(format!("{}: it may be asked back once its lease is over.", requests_wait(file.waiting)));
    }
    lines.iter().flat_map(|line| [clean(line), "\r\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CardId;

    fn file() -> LeaseFile {
        LeaseFile {
            schema: 1,
            berth: "alice/dev".into(),
            cards: vec![CardId(3), CardId(5)],
            since: Timestamp::UNIX_EPOCH,
            until: Some("2026-01-02T10:00:00Z".parse().unwrap()),
            lease: Some(28_800),
            stops_at: None,
            reason: None,
            waiting: 0,
            storage: "/home/ma-user/work".into(),
            utc_offset: 8 * 3600,
            message: None,
        }
    }

    #[test]
    fn it_says_what_there_is_and_for_how_long() {
        let now = "2026-01-02T08:00:00Z".parse().unwrap();
        let said = |file: &LeaseFile| text(file, now);
        assert_eq!(
            said(&file()),
            "berth alice/dev: cards 3,5 of this node. Its lease ends at 18:00 (in 2 h).\r\n\
             What is in /home/ma-user/work stays for ever, all else until the berth is released.\r\n"
        );
        let waited = said(&LeaseFile { waiting: 2, ..file() });
        assert!(
            waited.ends_with("2 requests wait for cards: it may be asked back once its lease is over.\r\n")
        );
        let stops =
            LeaseFile { waiting: 1, stops_at: Some("2026-01-02T08:15:00Z".parse().unwrap()), ..file() };
        assert!(said(&stops).ends_with(
            "It stops at 16:15 (in 15 min): somebody waits for cards. Keep it: berth renew dev\r\n"
        ));
        let idle = LeaseFile { reason: Some(StopReason::Idle), ..stops.clone() };
        assert!(said(&idle).ends_with("somebody waits for cards. Keep it: berth keep dev\r\n"));
        let unattended = LeaseFile { reason: Some(StopReason::Unattended), ..stops.clone() };
        assert!(said(&unattended).ends_with("It stops at 16:15 (in 15 min), with its lease.\r\n"));
        let over = LeaseFile { until: Some("2026-01-02T07:00:00Z".parse().unwrap()), ..file() };
        assert!(said(&over).contains("Its lease was over at 15:00 (1 h ago)."));
        for text in [said(&file()), said(&stops), said(&over)] {
            assert!(text.lines().count() <= 5, "{text}");
        }
    }

    #[tokio::test]
    async fn who_wants_no_text_gets_none() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_unwanted(home.path()).await);
        std::os::unix::fs::symlink("/nowhere", home.path().join(QUIET)).unwrap();
        assert!(is_unwanted(home.path()).await);
        assert!(!is_unwanted(Path::new("/no/such/home")).await);
    }
}
