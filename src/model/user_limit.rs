//! What one user may have at once.

use super::Size;
use serde::{Deserialize, Serialize};

/// Hard limits; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserLimit {
    /// Cards of all berths together.
    pub cards: Option<u32>,
    /// Berths that have not ended, stopped ones included.
    pub berths: Option<u32>,
    /// The longest lease at once, in seconds.
    pub lease: Option<u64>,
    /// The memory limits of all berths together that are not stopped.
    pub memory: Option<Size>,
}

impl UserLimit {
    /// These limits, and those of `rest` where this says nothing.
    #[must_use]
    pub fn or(self, rest: Self) -> Self {
        Self {
            cards: self.cards.or(rest.cards),
            berths: self.berths.or(rest.berths),
            lease: self.lease.or(rest.lease),
            memory: self.memory.or(rest.memory),
        }
    }
}

/// What an administrator said about one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnLimit {
    /// Nothing limits this user, the node's defaults neither.
    None,
    /// These, and the node's defaults where they say nothing.
    Some(UserLimit),
}

impl OwnLimit {
    /// What counts for a user; `own` is `None` where nobody said anything.
    pub fn effective(own: Option<Self>, defaults: UserLimit) -> UserLimit {
        match own {
            Option::None => defaults,
            Some(Self::None) => UserLimit::default(),
            Some(Self::Some(limit)) => limit.or(defaults),
        }
    }
}

/// `POST /v1/users/NAME/limit`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitChange {
    /// Nothing limits this user.
    None,
    /// The node's defaults and nothing else.
    #[default]
    Default,
    /// Sets what is said, and leaves the rest as it is.
    Set(UserLimit),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_user_goes_before_what_is_said_of_all() {
        let defaults = UserLimit { cards: Some(4), berths: Some(3), ..UserLimit::default() };
        assert_eq!(OwnLimit::effective(None, defaults), defaults);
        assert_eq!(OwnLimit::effective(Some(OwnLimit::None), defaults), UserLimit::default());
        let own = UserLimit { cards: Some(8), lease: Some(60), ..UserLimit::default() };
        assert_eq!(
            OwnLimit::effective(Some(OwnLimit::Some(own)), defaults),
            UserLimit { cards: Some(8), berths: Some(3), lease: Some(60), memory: None }
        );
        let change: LimitChange = serde_json::from_str(r#"{"set": {"cards": 4}}"#).unwrap();
        assert_eq!(change, LimitChange::Set(UserLimit { cards: Some(4), ..UserLimit::default() }));
        assert!(serde_json::from_str::<LimitChange>(r#"{"set": {"crads": 4}}"#).is_err());
        assert_eq!(serde_json::from_str::<LimitChange>(r#""none""#).unwrap(), LimitChange::None);
    }
}
