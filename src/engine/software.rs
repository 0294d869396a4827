//! Whether a container has software for the cards in it. A privileged container that has is taken for a user of the
//! cards. Pure. The texts are hostile, so that in doubt the answer is yes; an administrator can exempt a container
//! that uses no cards.

use crate::accel::Words;
use bollard::models::ContainerInspectResponse;

const MAX_ENTRIES: usize = 4096;

/// Whether the environment, labels, image name or mounts of this container name such software.
pub(super) fn is_in(inspect: &ContainerInspectResponse, words: &Words) -> bool {
    let config = inspect.config.as_ref();
    let env = config.and_then(|config| config.env.as_deref()).unwrap_or_default();
    let labels = config.and_then(|config| config.labels.as_ref());
    let labels = labels.into_iter().flatten().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    let image = config.and_then(|config| config.image.as_deref());
    let mounts = inspect.mounts.iter().flatten();
    let mounts = mounts.flat_map(|mount| [mount.source.as_deref(), mount.destination.as_deref()]).flatten();
    let texts = env.iter().map(String::as_str).chain(labels).chain(image).chain(mounts);
    texts.take(MAX_ENTRIES).any(|text| tells_of_it(text, words))
}

fn tells_of_it(text: &str, known: &Words) -> bool {
    let text = text.to_ascii_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    known.software.iter().any(|part| text.contains(part))
        || words.any(|word| known.software_words.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::{Accelerator as _, Ascend};

    #[test]
    fn monitors_are_told_from_users_of_cards() {
        for text in [
            "ASCEND_TOOLKIT_HOME=/usr/local/x",
            "LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64",
            "quay.io/ascend/vllm-ascend:v0.9.1",
            "swr.example.com/atelier/pytorch:2.1-cann_8.0".replace('_', "-").as_str(),
            "/usr/local/dcmi",
            "npu",
        ] {
            assert!(tells_of_it(text, Ascend.words()), "{text}");
        }
        for text in ["gcr.io/cadvisor/cadvisor:v0.49.1", "PATH=/usr/bin", "port-scanner", "inputs", "/rootfs"]
        {
            assert!(!tells_of_it(text, Ascend.words()), "{text}");
        }
    }
}
