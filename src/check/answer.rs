//! What npu-smi's answer means when it is not a table of cards.

use super::Scope;
use super::driver::install;
use super::outcome::looked;
use crate::model::check_facts::NotLooked;
use crate::model::facts::{NpuFacts, NpuTrouble};

/// Tells a missing driver from cards that are hidden because a container has one.
pub(super) enum Driver<'a> {
    Shows(&'a NpuFacts),
    /// No driver, no tool, or no card: nothing answers for the cards.
    Absent(NotLooked),
    /// A container has a card: then the driver shows no card to other mount namespaces.
    Held(NotLooked),
}

/// What answers for the cards. `Err` where that could not be found out (npu-smi hangs or is not permitted): the check
/// then ends.
pub(super) fn driver<'a>(scope: &Scope<'a>) -> Result<Driver<'a>, NotLooked> {
    let npu = looked(&scope.facts.npu)?;
    let Some(error) = &npu.facts.error else { return Ok(Driver::Shows(&npu.facts)) };
    let said = |what: &str| {
        let code = error.code.map(|code| format!(" ({code})")).unwrap_or_default();
        NotLooked::new(format!("{what}{code}: {}", error.meaning), error.remedy.clone())
    };
    match error.trouble {
        NpuTrouble::Held => Ok(Driver::Held(said("a container has cards"))),
        // To others than root, and its group, a working driver looks like none.
        NpuTrouble::NoDriver if !scope.facts.root => Err(NotLooked::new(
            "npu-smi ends with -8005 for this user: no driver, or no right to ask it",
            "sudo berth check --only npu",
        )),
        NpuTrouble::NoDriver => Ok(Driver::Absent(said("no driver answers"))),
        _ if error.code.is_none() && !npu.tool_there => without_tool(scope),
        NpuTrouble::NoCard => Ok(Driver::Absent(said("no driver answers"))),
        NpuTrouble::Other => Err(NotLooked::new(error.meaning.clone(), error.remedy.clone())),
    }
}

/// The answer where npu-smi is missing: no driver, unless the driver's files are there. Then the tool is elsewhere.
fn without_tool<'a>(scope: &Scope<'a>) -> Result<Driver<'a>, NotLooked> {
    let tool = scope.config.tools.npu_smi.display();
    if let Some(version) = &looked(&scope.facts.driver)?.version {
        return Err(NotLooked::new(
            format!("driver {version} is installed, and there is no {tool}"),
            "set tools.npu-smi in the config to where it is, such as /usr/local/sbin/npu-smi",
        ));
    }
    Ok(Driver::Absent(NotLooked::new(
        format!("no driver is installed: there is no {tool}"),
        format!("{}; or set tools.npu-smi in the config to where it is", install(scope)),
    )))
}

/// The driver's table; `Err` where there is none.
pub(super) fn shown<'a>(scope: &Scope<'a>) -> Result<&'a NpuFacts, NotLooked> {
    match driver(scope)? {
        Driver::Shows(facts) => Ok(facts),
        Driver::Absent(why) | Driver::Held(why) => Err(why),
    }
}
