//! Our parsers on tens of thousands of damaged inputs: never a panic, never more than was asked for. The damage is the
//! same in each run.

use berth::keys::{parse_public_key, parse_public_keys};
use berth::model::inside_event::{InsideEvent, LINE_LIMIT};
use berth::model::session::SessionConfig;
use berth::ssh::Account;

const CASES: u32 = 20_000;

/// A small generator (xorshift): the same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most.max(1)).unwrap()).unwrap()
    }

    /// A few changes: bits, bytes that mean something, pieces removed, repeated or taken from elsewhere.
    fn damage(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        const ODD: &[u8] = b"\0\n\r\t \"\\{}[]:,#=\xff\xc3\xe2\x80\xae-+/@";
        let pick = self.below(seeds.len());
        let mut bytes = seeds[pick].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.insert(at, ODD[self.below(ODD.len())]),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let piece = bytes[at..end].repeat(self.below(50));
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let end = (from + self.below(60)).min(other.len());
                    bytes.splice(at..at, other[from..end].iter().copied());
                }
            }
        }
        bytes
    }
}

fn try_all(seeds: &[&str], mut check: impl FnMut(&str)) {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let mut dice = Dice(0x5eed_cafe_f00d_0001);
    for _ in 0..CASES {
        let bytes = dice.damage(&seeds);
        check(&String::from_utf8_lossy(&bytes));
    }
}

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti anna@laptop";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg= x";

#[test]
fn public_keys_are_good_and_read_back_or_are_refused() {
    let mut good = 0;
    let options = format!("command=\"id\",no-pty {ED25519}");
    let both = format!("# mine\n{ED25519}\n\n{ECDSA}\n");
    try_all(
        &[ED25519, ECDSA, &options, &both, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDGSHPFHSZLZ x"],
        |text| {
            for key in parse_public_keys(text).into_iter().flatten() {
                good += 1;
                assert_eq!(parse_public_key(&key.line()).unwrap(), key, "{text:?}");
                assert!(!key.line().contains(char::is_control), "{text:?}");
            }
            if let Err(fault) = parse_public_key(text) {
                assert!(fault.message.len() < 500 && !fault.message.contains(char::is_control), "{fault:?}");
            }
        },
    );
    assert!(good > 1000, "the damage leaves {good} good keys: it is too much to test anything");
}

#[test]
fn session_configs_are_understood_or_refused() {
    let full = r#"{"schema":1,"users":["ma-user"],"image_user":"1000:100","environment_scripts":["/a/set_env.sh"],
        "groups":[1001],"environment":{"A":"0,1"},"limits":{"login-time":"30s","tries":3,"idle-time":"8h"}}"#;
    let mut good = 0;
    try_all(&[full, r#"{"schema": 1}"#], |text| {
        let Ok(config) = SessionConfig::parse(text.as_bytes()) else { return };
        good += 1;
        let again = SessionConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(again, config, "{text:?}");
    });
    assert!(good > 300, "{good}");
}

#[test]
fn events_of_a_berth_are_bounded_and_printable_or_no_events() {
    let login = r#"{"berth-event":1,"at":"2025-01-02T03:04:05Z","user":"ma-user","key":"SHA256:abc","peer":"10.1.2.3:4","kind":"login"}"#;
    let forward = r#"{"berth-event":1,"at":"2025-01-02T03:04:05Z","more":7,"kind":"forward-refused","how":"local-tcp","target":"db:5432","reason":"no\u001b[2J"}"#;
    let mut good = 0;
    try_all(&[login, forward], |text| {
        let Some(event) = InsideEvent::read(text) else { return };
        good += 1;
        let told = event.to_string();
        assert!(told.chars().count() < 5 * 210 && !told.contains(char::is_control), "{told:?}");
        assert!(text.len() <= LINE_LIMIT);
    });
    assert!(good > 300, "{good}");
}

#[test]
fn account_tables_of_images_never_give_a_name_that_is_an_option() {
    let passwd =
        "root:x:0:0:root:/root:/bin/bash\nma-user:x:1000:100::/home/ma-user:/bin/bash\nbroken\nx:x:y\n";
    let group = "root:x:0:\nusers:x:100:ma-user\nHwHiAiUser:x:1500:ma-user\n";
    let mut good = 0;
    try_all(&[passwd, group, "1000:100", "ma-user"], |text| {
        let config = SessionConfig {
            users: vec!["ma-user".into()],
            image_user: Some(text.chars().take(20).collect()),
            ..SessionConfig::default()
        };
        for (passwd, group) in [(text, group), (passwd, text)] {
            if let Ok(account) = Account::choose(&config, passwd, group) {
                good += 1;
                assert!(!account.name.starts_with('-') && !account.name.contains(char::is_whitespace));
                assert!(account.home.is_none_or(|home| home.is_absolute()));
            }
        }
    });
    assert!(good > 300, "{good}");
}
