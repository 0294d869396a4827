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

/// Who said a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitSource {
    /// An administrator, of this user.
    User,
    /// The profile, of this group of the node.
    Group(String),
    /// The profile, of everybody.
    Profile,
}

/// Who said each limit; `None` where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSources {
    pub cards: Option<LimitSource>,
    pub berths: Option<LimitSource>,
    pub lease: Option<LimitSource>,
    pub memory: Option<LimitSource>,
}

/// What the profile says of a user: of everybody, and of the groups that they are in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileLimits {
    pub groups: Vec<(String, UserLimit)>,
    pub defaults: UserLimit,
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
    /// What counts for a user, and who said it; `own` is `None` where nobody said anything. Each limit by itself: the user's
    /// own; else the most generous one of their groups that say something about it; else that of everybody.
    pub fn effective(own: Option<Self>, profile: &ProfileLimits) -> (UserLimit, LimitSources) {
        let own = match own {
            Option::None => UserLimit::default(),
            Some(Self::None) => return (UserLimit::default(), LimitSources::default()),
            Some(Self::Some(limit)) => limit,
        };
        let (cards, by_cards) = chosen(&own, profile, |limit| limit.cards);
        let (berths, by_berths) = chosen(&own, profile, |limit| limit.berths);
        let (lease, by_lease) = chosen(&own, profile, |limit| limit.lease);
        let (memory, by_memory) = chosen(&own, profile, |limit| limit.memory);
        (
            UserLimit { cards, berths, lease, memory },
            LimitSources { cards: by_cards, berths: by_berths, lease: by_lease, memory: by_memory },
        )
    }
}

fn chosen<T: Ord>(
    own: &UserLimit,
    profile: &ProfileLimits,
    of: impl Fn(&UserLimit) -> Option<T>,
) -> (Option<T>, Option<LimitSource>) {
    let by_groups = profile.groups.iter().filter_map(|(group, limit)| Some((of(limit)?, group)));
    let of_group = by_groups.max_by(|a, b| a.0.cmp(&b.0));
    match (of(own), of_group, of(&profile.defaults)) {
        (Some(own), ..) => (Some(own), Some(LimitSource::User)),
        (None, Some((limit, group)), _) => (Some(limit), Some(LimitSource::Group(group.clone()))),
        (None, None, Some(limit)) => (Some(limit), Some(LimitSource::Profile)),
        (None, None, None) => (None, None),
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
    fn the_most_generous_group_counts_limit_by_limit() {
        let limit = |cards, lease| UserLimit { cards, lease, ..UserLimit::default() };
        let profile = ProfileLimits {
            groups: vec![
                ("staff".into(), limit(Some(8), None)),
                ("students".into(), limit(Some(1), Some(60))),
            ],
            defaults: UserLimit { cards: Some(4), berths: Some(3), lease: Some(900), memory: None },
        };
        let (found, by) = OwnLimit::effective(None, &profile);
        assert_eq!(found, UserLimit { cards: Some(8), berths: Some(3), lease: Some(60), memory: None });
        assert_eq!(
            by,
            LimitSources {
                cards: Some(LimitSource::Group("staff".into())),
                berths: Some(LimitSource::Profile),
                lease: Some(LimitSource::Group("students".into())),
                memory: None,
            }
        );
        let own = Some(OwnLimit::Some(limit(Some(2), None)));
        let (found, by) = OwnLimit::effective(own, &profile);
        assert_eq!((found.cards, by.cards), (Some(2), Some(LimitSource::User)), "also where it is less");
        assert_eq!(found.lease, Some(60));
        assert_eq!(OwnLimit::effective(Some(OwnLimit::None), &profile).1, LimitSources::default());
        assert_eq!(serde_json::to_value(&by.lease).unwrap(), serde_json::json!({"group": "students"}));
    }

    #[test]
    fn what_is_said_of_one_user_goes_before_what_is_said_of_all() {
        let defaults = UserLimit { cards: Some(4), berths: Some(3), ..UserLimit::default() };
        let profile = ProfileLimits { groups: Vec::new(), defaults };
        let effective = |own| OwnLimit::effective(own, &profile).0;
        assert_eq!(effective(None), defaults);
        assert_eq!(effective(Some(OwnLimit::None)), UserLimit::default());
        let own = UserLimit { cards: Some(8), lease: Some(60), ..UserLimit::default() };
        assert_eq!(
            effective(Some(OwnLimit::Some(own))),
            UserLimit { cards: Some(8), berths: Some(3), lease: Some(60), memory: None }
        );
        let change: LimitChange = serde_json::from_str(r#"{"set": {"cards": 4}}"#).unwrap();
        assert_eq!(change, LimitChange::Set(UserLimit { cards: Some(4), ..UserLimit::default() }));
        assert!(serde_json::from_str::<LimitChange>(r#"{"set": {"crads": 4}}"#).is_err());
        assert_eq!(serde_json::from_str::<LimitChange>(r#""none""#).unwrap(), LimitChange::None);
    }
}
