//! Makes a container anew: all of one that is there, but with other devices, and the share of the machine
//! that goes with them. Its files are not copied: where the engine
//! keeps them in a directory of their own, the caller hands that over.

use super::client::{Engine, LONG};
use super::container::{DeviceNode, device, nano_cpus};
use super::lifecycle::short;
use crate::error::Fault;
use crate::model::Size;
use anyhow::{Context as _, Result};
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The storage driver whose containers have a directory each that holds nothing but what was written in them.
const OVERLAY: &str = "overlay2";

/// What is other than in the container that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Remade {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Variables that take the place of those of the same names.
    pub env: Vec<(String, String)>,
    pub devices: Vec<DeviceNode>,
    pub groups: Vec<u32>,
    pub cpuset: Option<String>,
    pub memory: Option<Size>,
    pub cpus: Option<f64>,
}

impl Engine {
    /// Makes a container as this one is, but for `remade`, and returns its id. Nothing of it runs yet.
    pub async fn remake(&self, id: &str, remade: &Remade) -> Result<String> {
        let doing = || format!("making container {} anew", short(id));
        let there =
            self.inspect_raw(id).await?.ok_or_else(|| Fault::docker("it is gone")).with_context(doing)?;
        let body = body(there, remade).with_context(doing)?;
        let options = CreateContainerOptionsBuilder::default().name(&remade.name).build();
        let docker = self.docker();
        let made = self.call(LONG, docker.create_container(Some(options), body)).await.with_context(doing)?;
        Ok(made.id)
    }

    /// The directory on the host with what was written in this container, where the engine has one for it alone.
    pub async fn files_of(&self, id: &str) -> Result<Option<PathBuf>> {
        let Some(inspect) = self.inspect_raw(id).await? else { return Ok(None) };
        let Some(driver) = inspect.graph_driver.filter(|driver| driver.name == OVERLAY) else {
            return Ok(None);
        };
        Ok(driver.data.get("UpperDir").map(PathBuf::from).filter(|path| path.is_absolute()))
    }
}

fn body(there: ContainerInspectResponse, remade: &Remade) -> Result<ContainerCreateBody> {
    let config = there.config.ok_or_else(|| Fault::docker("the engine does not say how it was made"))?;
    // The two types have the same fields, and the engine's words for them.
    let config = serde_json::to_value(config).context("reading how it was made")?;
    let mut body: ContainerCreateBody = serde_json::from_value(config).context("reading how it was made")?;
    let mut host =
        there.host_config.ok_or_else(|| Fault::docker("the engine does not say what it may use"))?;
    host.devices = Some(remade.devices.iter().map(device).collect());
    host.group_add = Some(remade.groups.iter().map(ToString::to_string).collect());
    host.cpuset_cpus.clone_from(&remade.cpuset);
    host.memory = remade.memory.map(Size::bytes_i64);
    // The same as memory: no swap on top of it.
    host.memory_swap = host.memory;
    host.nano_cpus = remade.cpus.and_then(nano_cpus);
    body.labels = Some(remade.labels.clone().into_iter().collect());
    body.env = Some(environment(body.env.unwrap_or_default(), &remade.env));
    body.host_config = Some(host);
    Ok(body)
}

fn environment(there: Vec<String>, new: &[(String, String)]) -> Vec<String> {
    let is_kept = |line: &String| !new.iter().any(|(key, _)| line.split('=').next() == Some(key));
    let kept = there.into_iter().filter(is_kept);
    kept.chain(new.iter().map(|(key, value)| format!("{key}={value}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_is_kept_but_what_goes_with_the_cards() {
        let there = json!({
            "Id": "c1",
            "Config": {"Hostname": "train", "User": "0:0", "Image": "sha256:00ff", "Env": ["PATH=/bin", "CARDS=0,1"],
                "Labels": {"berth.cards": "0,1"}, "Entrypoint": ["/opt/berth/bin/berth"], "StopTimeout": 10},
            "HostConfig": {"Memory": 1 << 30, "NetworkMode": "bridge", "CpusetCpus": "0-3", "GroupAdd": ["1000"],
                "SecurityOpt": ["no-new-privileges"],
                "Devices": [{"PathOnHost": "/dev/davinci0", "PathInContainer": "/dev/davinci0", "CgroupPermissions": "rw"}]},
        });
        let remade = Remade {
            name: "n".into(),
            labels: BTreeMap::from([("berth.cards".into(), "2,3".into())]),
            env: vec![("CARDS".into(), "2,3".into())],
            devices: vec![DeviceNode { host: "/dev/davinci2".into(), container: "/dev/davinci2".into() }],
            groups: vec![1001],
            cpuset: None,
            memory: Some(Size::gib(2)),
            cpus: Some(1.5),
        };
        let made =
            serde_json::to_value(body(serde_json::from_value(there).unwrap(), &remade).unwrap()).unwrap();
        assert_eq!(made["Env"], json!(["PATH=/bin", "CARDS=2,3"]));
        assert_eq!((&made["Labels"], &made["StopTimeout"]), (&json!({"berth.cards": "2,3"}), &json!(10)));
        assert_eq!((&made["Hostname"], &made["Image"]), (&json!("train"), &json!("sha256:00ff")));
        let host = &made["HostConfig"];
        assert_eq!(host["Devices"].as_array().unwrap().len(), 1);
        assert_eq!(host["Devices"][0]["PathOnHost"], "/dev/davinci2");
        assert_eq!((&host["Memory"], &host["GroupAdd"]), (&json!(2_147_483_648_u64), &json!(["1001"])));
        assert_eq!(
            (&host["SecurityOpt"], &host["CpusetCpus"]),
            (&json!(["no-new-privileges"]), &json!(null))
        );
    }
}
