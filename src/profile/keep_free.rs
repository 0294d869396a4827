//! How much of a file system stays free: a size, or a part of all of it.

use crate::model::Size;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepFree {
    Bytes(Size),
    Percent(u8),
}

/// More would give away berths while half of the disk is free.
const MOST_PERCENT: u8 = 50;

impl KeepFree {
    /// In bytes, of a file system with so many.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(size) => size.0,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

impl FromStr for KeepFree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.trim().strip_suffix('%') else {
            let size = text.parse().map_err(|_| wrong(text))?;
            return Ok(Self::Bytes(size));
        };
        let percent = percent.trim_end().parse().ok().filter(|percent| *percent <= MOST_PERCENT);
        percent.map(Self::Percent).ok_or_else(|| wrong(text))
    }
}

fn wrong(text: &str) -> String {
    format!("`{text}` is no part of a disk; write 0% to {MOST_PERCENT}%, or a size such as 20GiB")
}

impl Serialize for KeepFree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(size) => size.serialize(serializer),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

/// A number of bytes (as we write it) or text (as people do).
impl<'de> Deserialize<'de> for KeepFree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Bytes(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Bytes(bytes) => Ok(Self::Bytes(Size(bytes))),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_part_of_the_disk_or_a_size() {
        let of = |text: &str| text.parse::<KeepFree>().map(|keep| keep.of(1000 << 30));
        assert_eq!(of("5%"), Ok(50 << 30));
        assert_eq!((of("0%"), of("50 %"), of("20GiB")), (Ok(0), Ok(500 << 30), Ok(20 << 30)));
        for text in ["51%", "-1%", "5", "", "%", "much", "5.5%", "256%"] {
            let wrong = of(text).unwrap_err();
            assert!(wrong.starts_with(&format!("`{text}` is no part of a disk; write 0% to 50%")), "{wrong}");
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["7%", "3GiB"] {
            let keep: KeepFree = text.parse().unwrap();
            let again: KeepFree = serde_json::from_value(serde_json::to_value(keep).unwrap()).unwrap();
            assert_eq!(again, keep);
        }
    }
}
