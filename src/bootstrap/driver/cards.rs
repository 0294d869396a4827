//! Who has a card now: processes with its node open, containers that were given it, and what npu-smi lists. It only
//! looks. Asked when a plan is made, and again right before something is installed.

use crate::accel::{self, Nodes};
use crate::bootstrap::Context;
use crate::bootstrap::observed::CardsSeen;
use crate::engine::{Engine, Foreign, ForeignScan, Known};
use crate::error::{Fault, flatten};
use crate::model::facts::NpuDevice;
use crate::model::{CardId, Holder};
use crate::ops::kernel::{self, Outsiders};
use crate::ops::survey::open_cards;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;

pub(in crate::bootstrap) fn look(context: &Context) -> CardsSeen {
    let mut found = BTreeSet::new();
    let mut reasons = Vec::new();
    let nodes = accel::nodes::scan(context.accel(), &context.config.paths.dev, context.profile.devices.cards);
    reasons.extend(nodes.bad.iter().map(|(card, why)| format!("card {card}: {why}")));
    let open = open_cards(context.host, &nodes, &[]);
    reasons.extend(open.not_looked);
    reasons.extend(open.unfinished.first().map(|open| {
        format!(
            "process {} ({}) has more open files than could be looked at",
            open.device.pid, open.device.name
        )
    }));
    let mut pids = BTreeSet::new();
    for card in open.open {
        let device = card.device;
        pids.insert(device.pid);
        let holder = Holder::Process { pid: device.pid, name: device.name, user: card.user };
        found.insert(format!("card {} is held by {holder}", card.card));
    }
    for (card, pid, name) in listed(context) {
        if pids.insert(pid) {
            let holder = Holder::Process { pid, name, user: None };
            found.insert(format!("card {card} is held by {holder}"));
        }
    }
    match containers(context, &nodes) {
        Ok(outside) => {
            reasons.extend(outside.not_looked);
            found
                .extend(outside.held.iter().map(|(card, holder)| format!("card {card} is held by {holder}")));
        }
        Err(error) => reasons.push(flatten(&error).message),
    }
    let not_looked = (!reasons.is_empty()).then(|| reasons.join("; "));
    CardsSeen { holders: found.into_iter().collect(), not_looked }
}

/// Fails while somebody has a card. Called right before something is done to the cards.
pub(in crate::bootstrap) fn check_free(context: &Context) -> Result<(), Fault> {
    let seen = look(context);
    let not_looked = seen.not_looked.map(|why| format!("who has cards could not be looked at: {why}"));
    let objections: Vec<String> = seen.holders.into_iter().chain(not_looked).collect();
    if objections.is_empty() {
        return Ok(());
    }
    Err(Fault::refused(objections.join("; "))
        .help("release the berths, and stop the containers and processes (berth cards shows them)"))
}

/// The processes that npu-smi lists. If npu-smi fails, the list is empty: the scan of /proc finds processes without it.
fn listed(context: &Context) -> Vec<(CardId, u32, String)> {
    let (npu, _) = context.accel().look(context.host, context.config);
    let of_device = |device: &NpuDevice| {
        let card = CardId(device.id);
        device
            .processes
            .iter()
            .map(move |process| (card, process.pid, process.name.clone()))
            .collect::<Vec<_>>()
    };
    npu.devices.iter().flat_map(of_device).collect()
}

/// Running containers that have a card, berths included, and others that the kernel lets use one. Where Docker's socket
/// is missing, there is no Docker to ask.
fn containers(context: &Context, nodes: &Nodes) -> Result<Outsiders> {
    let socket = &context.config.docker.socket;
    if !context.host.exists(socket) {
        return Ok(kernel::with(nodes, &Foreign::default()));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let engine = Engine::connect(socket).await?;
        let scan = ForeignScan::new(engine, context.accel(), "").exempting(&context.config.docker.exempt);
        let foreign = { scan }.look(&nodes.each(), &Known::default()).await?;
        Ok(kernel::with(nodes, &foreign))
    })
}
