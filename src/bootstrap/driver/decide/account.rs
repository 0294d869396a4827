//! The account that the driver runs as. An existing account is not changed: files and images rely on its uid and gid.

use crate::bootstrap::plan::{MakeAccount, Part, Step};
use crate::model::driver::AccountSeen;
use crate::profile::DriverWants;

pub(super) fn plan_account(seen: &AccountSeen, wants: &DriverWants, part: &mut Part) {
    let (user, group) = (&wants.user, &wants.group);
    if let Some((uid, _)) = seen.user
        && (seen.gid.is_none() || !seen.is_member)
    {
        part.refuse(
            format!("user {user} ({uid}) is there, and is not in a group {group}"),
            format!("groupadd --gid {} {group}; usermod --gid {group} {user}", wants.gid),
        );
        return;
    }
    let taken = [
        (seen.gid.is_none(), &seen.gid_holder, "gid", wants.gid, group),
        (seen.user.is_none(), &seen.uid_holder, "uid", wants.uid, user),
    ];
    let mut is_refused = false;
    for (is_missing, holder, kind, number, name) in taken {
        if let (true, Some(holder)) = (is_missing, holder) {
            is_refused = true;
            part.refuse(
                format!("{name} should have {kind} {number}, which {holder} has"),
                format!(
                    "give {holder} another {kind}, or set another one in [bootstrap.driver]; images expect 1000, and \
                     berth gives their users the group that the cards' nodes have"
                ),
            );
        }
    }
    let step = MakeAccount {
        user: user.clone(),
        group: group.clone(),
        uid: seen.user.is_none().then_some(wants.uid),
        gid: seen.gid.is_none().then_some(wants.gid),
    };
    match (step.uid, step.gid) {
        (None, None) => say_right(seen, wants, part),
        _ if is_refused => {}
        _ => part.add(Step::MakeAccount(step), format!("the driver runs as {user}, and there is none")),
    }
}

fn say_right(seen: &AccountSeen, wants: &DriverWants, part: &mut Part) {
    let (Some((uid, _)), Some(gid)) = (seen.user, seen.gid) else { return };
    part.is_right(format!("user {} ({uid}) and group {} ({gid}) are there", wants.user, wants.group));
    if (uid, gid) != (wants.uid, wants.gid) {
        part.notes.push(format!(
            "{} has uid {uid} and gid {gid}, and images may expect {} and {}; it is left as it is",
            wants.user, wants.uid, wants.gid
        ));
    }
}
