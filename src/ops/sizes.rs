//! How many CPUs and how much memory a request may ask for.

use super::Caller;
use crate::error::Fault;
use crate::model::{BerthRequest, Size};
use crate::profile::{BerthRules, LEAST_MEMORY};

pub(super) fn check_cpus(cpus: Option<f64>) -> Result<Option<f64>, Fault> {
    let most = online_cpus();
    match cpus {
        Some(cpus) if !(0.01..=most).contains(&cpus) => {
            Err(Fault::usage(format!("{cpus} CPUs cannot be asked for; this node has {most}")))
        }
        other => Ok(other),
    }
}

pub(super) fn online_cpus() -> f64 {
    std::thread::available_parallelism()
        .map_or(1.0, |count| f64::from(u32::try_from(count.get()).unwrap_or(u32::MAX)))
}

/// The memory limit of the berth. An error when a user asks for more than the profile allows, which would take it
/// from others.
pub(super) fn check_memory(
    caller: &Caller,
    rules: &BerthRules,
    request: &BerthRequest,
) -> Result<Option<Size>, Fault> {
    let memory = check_size(request.memory)?;
    let cards = request.cards.count();
    let most = rules.most_memory_of(cards);
    match memory {
        Some(size) if size > most && !caller.admin => {
            let of = match cards {
                0 => "without cards".to_owned(),
                1 => "of a card".to_owned(),
                _ => format!("of {cards} cards"),
            };
            Err(Fault::refused(format!("{size} of memory is too much: a berth {of} may have {most}")).help(
                "ask for less or for more cards; an administrator may ask for more, with --user for you",
            ))
        }
        other => Ok(other),
    }
}

fn check_size(memory: Option<Size>) -> Result<Option<Size>, Fault> {
    // A size that cannot be compared is left to Docker.
    let most = sysinfo::System::new().map_or(Size(0), |mut system| {
        system.refresh_memory();
        Size(system.total_memory())
    });
    match memory {
        Some(size) if size < LEAST_MEMORY => {
            Err(Fault::usage(format!("{size} of memory is too little; ask for at least {LEAST_MEMORY}")))
        }
        Some(size) if most.0 > 0 && size > most => {
            Err(Fault::usage(format!("{size} of memory cannot be asked for; this node has {most}")))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;
    use crate::profile::{Profile, shipped_profile};

    #[test]
    fn a_user_gets_so_much_memory_and_an_administrator_more() {
        let mut rules = toml::from_str::<Profile>(shipped_profile("sim").unwrap()).unwrap().berth;
        rules.memory_per_card = Size::mib(100);
        let user = Caller { name: "alice".into(), admin: false, user: Some("alice".into()) };
        let asked = |caller: &Caller, rules: &BerthRules, cards: i64, mib: u64| {
            let request = serde_json::json!({"cards": {"count": cards}, "memory": mib << 20});
            check_memory(caller, rules, &serde_json::from_value(request).unwrap())
        };
        assert!(asked(&user, &rules, 1, 200).is_ok() && asked(&user, &rules, 2, 400).is_ok());
        let fault = asked(&user, &rules, 1, 201).unwrap_err();
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (ErrorClass::Refused, "201MiB of memory is too much: a berth of a card may have 200MiB")
        );
        assert!(
            asked(&user, &rules, 2, 401).unwrap_err().message.ends_with("a berth of 2 cards may have 400MiB")
        );
        assert_eq!(asked(&Caller::agent(), &rules, 1, 201).unwrap(), Some(Size::mib(201)));
        rules.max_memory = Some(Size::mib(150));
        assert!(asked(&user, &rules, 1, 150).is_ok() && asked(&user, &rules, 1, 151).is_err());
        // What its cards give is not refused.
        assert!(asked(&user, &rules, 2, 200).is_ok() && asked(&user, &rules, 2, 201).is_err());
        assert!(asked(&user, &rules, 1, 10).unwrap_err().message.contains("too little"));
    }
}
