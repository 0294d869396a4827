//! Which content an entry of the catalogue stands for. A name can be given to another image by anybody who may tag
//! images on this node, or who owns the name in a registry. Users' storage is mounted into what runs. So the
//! catalogue pins contents, and the name only says where to fetch them from.

use super::{Caller, Node, ProgressSender};
use crate::engine::Engine;
use crate::engine::image::ImageInfo;
use crate::engine::registry::by_digest;
use crate::error::{Fault, flatten};
use crate::profile::{CatalogueImage, Pin};
use anyhow::Result;

/// The pin for an image of the engine: a digest, by which it can be fetched again, or an id, which is never
/// fetched.
pub(super) fn pin_of(reference: &str, info: &ImageInfo) -> Pin {
    info.digest_in(reference).map_or_else(|| Pin::Id(info.id.clone()), Pin::Digest)
}

/// The image that an entry stands for; `None` when the engine does not have it.
pub(super) async fn look(engine: &Engine, image: &CatalogueImage) -> Result<Option<ImageInfo>> {
    match image.pin() {
        None => engine.inspect_image(&image.reference).await,
        Some(Pin::Id(id)) => engine.inspect_image(&id).await,
        Some(Pin::Digest(digest)) => engine.inspect_image(&by_digest(&image.reference, &digest)).await,
    }
}

/// The fault for an image that only this node had.
pub(super) fn not_from_a_registry(image: &CatalogueImage) -> Fault {
    let name = &image.name;
    let (what, again) = match &image.source {
        Some(file) => (
            format!("was imported from {file}"),
            format!("import it again: berth image remove {name}; berth image import {file} --name {name}"),
        ),
        None if image.is_imported() => (
            "was imported from a file".to_owned(),
            format!("import it again: berth image remove {name}; berth image import FILE --name {name}"),
        ),
        None => (
            "was made on this node".to_owned(),
            format!("add it again: berth image remove {name}; berth image add {name} {}", image.reference),
        ),
    };
    Fault::refused(format!("image {name} {what}: no registry has it")).help(again)
}

impl Node {
    /// Fetches an image that the engine does not have, by its pinned digest where it has one. An error for an image
    /// that only this node had.
    pub(super) async fn fetch(&self, image: &CatalogueImage, progress: &ProgressSender) -> Result<ImageInfo> {
        match image.pin() {
            Some(Pin::Digest(digest)) if !image.is_imported() => {
                self.pull(&by_digest(&image.reference, &digest), progress).await
            }
            None if !image.is_imported() => self.pull(&image.reference, progress).await,
            _ => Err(not_from_a_registry(image).into()),
        }
    }

    /// Pins an entry without a pin (from an older version, or written by hand) to the image that is first used
    /// under its name. Where the file cannot be written, this only logs: the request is as safe as it was before.
    pub(super) async fn pin_first_use(&self, image: &CatalogueImage, info: &ImageInfo) {
        if image.pin().is_some() {
            return;
        }
        let pin = pin_of(&image.reference, info);
        if let Err(error) = self.pin(&Caller::agent().name, image, &pin).await {
            let error = flatten(&error).message;
            tracing::warn!(image = image.name, error, "the catalogue could not note which image this is");
        }
    }

    pub(super) async fn pin(&self, actor: &str, image: &CatalogueImage, pin: &Pin) -> Result<()> {
        if image.pin().as_ref() == Some(pin) {
            return Ok(());
        }
        let (meant, wanted) = (image.clone(), pin.clone());
        self.edit_catalogue(move |catalogue| {
            // Somebody may have changed the entry since it was read: then it is no longer the one that was looked at.
            if catalogue.images().contains(&meant) {
                catalogue.pin(&meant.name, &wanted);
            }
            Ok(())
        })
        .await?;
        let (Pin::Digest(hash) | Pin::Id(hash)) = pin;
        let text = format!("image {} is {} from now on: {hash}", image.name, image.reference);
        let event = self.event("image.pinned", actor, text);
        self.ledger(move |ledger| ledger.record(&event)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn what_no_registry_has_is_brought_again_by_hand() {
        let image = |reference: &str, source: Option<&str>| CatalogueImage {
            name: "x".into(),
            reference: reference.into(),
            description: None,
            sudo: false,
            users: None,
            source: source.map(Into::into),
            digest: None,
            id: None,
        };
        for (image, help) in [
            (image("berth/x:imported", Some("/a.tar")), "berth image import /a.tar --name x"),
            (image("berth/x:imported", None), "berth image import FILE --name x"),
            (image("built:1", None), "berth image add x built:1"),
        ] {
            let fault = not_from_a_registry(&image);
            assert_eq!(fault.class, ErrorClass::Refused);
            assert!(fault.help.unwrap().ends_with(help), "{}", fault.message);
        }
    }
}
