//! `berth facts`: what is on this host. Needs no agent and no root.

use super::call::wait_for;
use super::{Global, cards_of, render};
use crate::accel::{self, Accelerator};
use crate::engine::Engine;
use crate::error::flatten;
use crate::facts;
use crate::host::RealHost;
use crate::model::Health;
use crate::model::facts::{BlockDevice, DockerFacts, Facts, NpuDevice, NpuFacts};
use crate::model::size::Size;
use crate::profile::{Config, load_profile};
use anyhow::Result;
use comfy_table::{Cell, Color, Table};
use std::process::ExitCode;

/// Show what is on this host: cards, disks, memory, Docker
#[derive(clap::Args)]
#[command(after_long_help = "\
It looks and changes nothing, and needs no agent and no root. What this user
may not read is null in the JSON, with the reason in `unreadable`.

Example:
  berth facts --json | jq '.npu.devices[] | {id, health}'")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, _args: Args) -> Result<ExitCode> {
    let host = RealHost::default();
    let mut config = global.config()?;
    let accel = accelerator(&host, &mut config);
    let docker = docker_facts(&config);
    let facts = facts::gather(&host, accel.look(&host, &config), docker);
    if global.json {
        render::json(&facts)?;
    } else {
        show(&facts);
    }
    Ok(ExitCode::SUCCESS)
}

/// The node's kind of card. Facts need no profile; where one exists, it names the kind and the places to look.
fn accelerator(host: &RealHost, config: &mut Config) -> &'static dyn Accelerator {
    let attached = load_profile(host, config).and_then(|mut profile| cards_of(host, config, &mut profile));
    attached.unwrap_or(accel::USUAL)
}

/// What Docker says, asked through `engine`. An error when Docker does not answer; the other facts are shown all
/// the same.
fn docker_facts(config: &Config) -> Result<DockerFacts, String> {
    let looked = wait_for(async { Engine::connect(&config.docker.socket).await?.facts().await });
    looked.map_err(|error| flatten(&error).message)
}

fn show(facts: &Facts) {
    show_host(facts);
    render::line("");
    show_cards(&facts.npu);
    if let Some(disks) = &facts.block_devices {
        render::line("");
        let mut table = render::table(&["DEVICE", "TYPE", "SIZE", "SERIAL", "FILE SYSTEM", "MOUNTED AT"]);
        add_disks(&mut table, disks, 0);
        render::show_table(&table);
    }
    if !facts.unreadable.is_empty() {
        render::line("");
        render::line("Could not be read:");
        for entry in &facts.unreadable {
            render::line(&format!("  {}: {}", entry.fact, render::printable(&entry.reason)));
        }
    }
}

fn show_host(facts: &Facts) {
    let line = |name: &str, text: &str| render::line(&format!("{name:<8} {}", render::printable(text)));
    if let Some(os) = &facts.os {
        line("Host", &format!("{} ({}, kernel {})", os.hostname, os.arch, os.kernel));
        line("System", os.pretty_name.as_deref().unwrap_or(&os.id));
    }
    if let Some(cpu) = &facts.cpu {
        let model = cpu.model.as_deref().unwrap_or("unknown model");
        line("CPUs", &format!("{} ({model}, {} NUMA nodes)", cpu.logical, cpu.numa_nodes.len()));
    }
    if let Some(memory) = &facts.memory {
        let size = |mib| Size::mib(mib);
        line("Memory", &format!("{}, {} available", size(memory.total_mib), size(memory.available_mib)));
    }
    if let Some(docker) = &facts.docker {
        let root = docker.data_root.as_deref().unwrap_or("unknown");
        line("Docker", &format!("{} (API {}, data in {root})", docker.version, docker.api_version));
    }
}

fn show_cards(npu: &NpuFacts) {
    if let Some(error) = &npu.error {
        let code = error.code.map(|code| format!(" ({code})")).unwrap_or_default();
        render::line(&format!("Cards    unknown{code}: {}", render::printable(&error.meaning)));
        render::line(&format!("         {}", render::printable(&error.remedy)));
        if !npu.pci.is_empty() {
            render::line(&format!("         {} accelerators on the PCI bus", npu.pci.len()));
        }
        return;
    }
    let version = |version: &Option<String>| render::printable(version.as_deref().unwrap_or("unknown"));
    render::line(&format!(
        "Cards    npu-smi {}, driver {}",
        version(&npu.tool_version),
        version(&npu.driver_version)
    ));
    let mut table =
        render::table(&["CARD", "NAME", "HEALTH", "HBM USED", "TEMP", "BUS", "NUMA", "CPUS", "PROCESSES"]);
    for device in &npu.devices {
        add_card(&mut table, npu, device);
    }
    render::show_table(&table);
    for warning in &npu.warnings {
        render::line(&format!("npu-smi: {}", render::printable(warning)));
    }
}

fn add_card(table: &mut Table, npu: &NpuFacts, device: &NpuDevice) {
    let near = npu.topology.iter().find(|entry| entry.id == device.id);
    let hbm = match (device.hbm_used_mib, device.hbm_total_mib) {
        (Some(used), Some(total)) => format!("{} of {}", Size::mib(used), Size::mib(total)),
        _ => "-".into(),
    };
    let processes: Vec<String> =
        device.processes.iter().map(|process| format!("{} {}", process.pid, process.name)).collect();
    table.add_row(vec![
        Cell::new(device.id),
        text(&device.name),
        Cell::new(device.health).fg(match device.health {
            Health::Ok => Color::Green,
            Health::Warning => Color::Yellow,
            _ => Color::Red,
        }),
        Cell::new(hbm),
        Cell::new(device.temperature_c.map_or_else(|| "-".into(), |celsius| format!("{celsius}C"))),
        text(device.bus_id.as_deref().unwrap_or("-")),
        Cell::new(near.and_then(|near| near.numa_node).map_or_else(|| "-".into(), |node| node.to_string())),
        text(near.and_then(|near| near.cpu_affinity.as_deref()).unwrap_or("-")),
        text(&processes.join(", ")),
    ]);
}

fn add_disks(table: &mut Table, disks: &[BlockDevice], depth: usize) {
    for disk in disks {
        table.add_row(vec![
            text(&format!("{}{}", "  ".repeat(depth), disk.name)),
            text(&disk.kind),
            Cell::new(Size(disk.size_bytes)),
            text(disk.serial.as_deref().unwrap_or("-")),
            text(disk.fs_type.as_deref().unwrap_or("-")),
            text(&disk.mountpoints.join(", ")),
        ]);
        add_disks(table, &disk.children, depth + 1);
    }
}

/// A table cell with unprintable characters removed: names come from tools and images.
fn text(content: &str) -> Cell {
    Cell::new(render::printable(content).replace('\n', " "))
}
