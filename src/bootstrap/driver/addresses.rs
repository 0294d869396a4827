//! Sets the cards' network addresses, and asks the cards afterwards whether they have them.

use super::cards;
use crate::bootstrap::Context;
use crate::bootstrap::plan::{NewAddress, SetAddresses};
use crate::error::Fault;
use crate::facts::addresses;
use crate::host::Tool;
use anyhow::Result;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::bootstrap) fn set(context: &Context, set: &SetAddresses) -> Result<()> {
    // The steps before this one may have started containers.
    cards::check_free(context)?;
    let tools = &context.config.tools;
    let tool = Tool::HccnTool(tools.hccn_tool.clone());
    for port in &set.ports {
        for args in port.calls() {
            let cmd = tool.cmd().args(args).timeout(TIMEOUT);
            context.host.run(&cmd).map_err(|error| {
                Fault::from(error).help("cards that were set stay set; the same command goes on")
            })?;
        }
        verify(context, port)?;
    }
    Ok(())
}

fn verify(context: &Context, port: &NewAddress) -> Result<(), Fault> {
    let tools = &context.config.tools;
    let seen = addresses::gather_port(context.host, tools, port.card, port.gateway.is_some())
        .map_err(|why| Fault::host(format!("asking card {} for its address: {why}", port.card)))?;
    let wanted = (Some(&port.address), Some(&port.netmask), port.gateway.as_ref());
    let found = (seen.address.as_ref(), seen.netmask.as_ref(), seen.gateway.as_ref());
    if wanted == found {
        return Ok(());
    }
    let show = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
    Err(Fault::host(format!(
        "hccn_tool said that it set card {}, and the card has address {}, netmask {}, gateway {}",
        port.card,
        show(found.0),
        show(found.1),
        show(found.2)
    )))
}
