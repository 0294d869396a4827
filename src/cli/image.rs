//! `berth image`: the catalogue of base images.

use super::call::{segment, wait_for};
use super::progress::Shown;
use super::{Global, render};
use crate::agent::types::{Images, NewImage};
use crate::error::{ErrorClass, Fault};
use crate::model::Size;
use crate::ops::image_check::{ImageCheck, ImageVerdict};
use crate::ops::images::ImageView;
use anyhow::{Context, Result};
use clap::Subcommand;
use comfy_table::{Cell, Color};
use hyper::Method;
use std::path::PathBuf;
use std::process::ExitCode;

/// Base images that berths are made of
#[derive(clap::Args)]
#[command(after_long_help = "\
Private registries are used with the agent's Docker credentials: what
`docker login` wrote for root.

Examples:
  berth image list
  sudo berth image pull pytorch REGISTRY/atelier/pytorch_ascend:TAG
  sudo berth image import rootfs.tar --name mine
  berth image check pytorch")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write an image into the catalogue without pulling it
    #[command(after_long_help = "Example:\n  sudo berth image add pytorch REGISTRY/pytorch_ascend:TAG")]
    Add {
        /// Its name in the catalogue
        name: String,
        /// What Docker calls it, such as registry/repository:tag
        reference: String,
        #[command(flatten)]
        about: About,
    },
    /// Show the catalogue and what is on this node
    #[command(after_long_help = "Example:\n  berth image list")]
    List,
    /// Fetch an image; a new name is added to the catalogue
    #[command(after_long_help = "Example:\n  sudo berth image pull pytorch REGISTRY/pytorch_ascend:TAG")]
    Pull {
        /// Its name in the catalogue
        name: String,
        /// What Docker calls it; not needed for a name in the catalogue
        reference: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Make an image of a file: a root file system, or from `docker save`
    #[command(after_long_help = "Example:\n  sudo berth image import rootfs.tar --name mine")]
    Import {
        /// A tar archive, also a gzipped one
        file: PathBuf,
        /// Its name in the catalogue
        #[arg(long, value_name = "NAME")]
        name: String,
        #[command(flatten)]
        about: About,
    },
    /// Say what an image offers: user, shell, glibc, tar, home, CANN
    #[command(after_long_help = "\
It starts a container of the image for a moment. image.vscode says whether VS
Code Remote-SSH can run its server there. The exit code is 4 when the image
cannot be used as it is; warnings do not count.

Examples:
  berth image check pytorch
  berth image check alice/mine")]
    Check {
        /// Its name; NAME or OWNER/NAME of one that was made of a berth
        name: String,
    },
    /// Choose what requests get that name no image
    #[command(after_long_help = "\
Until one is chosen it is the profile's default-image, or else the first image
of the catalogue.

Example:
  sudo berth image default pytorch")]
    Default {
        /// Its name in the catalogue
        name: String,
    },
    /// Remove an image of your own, or take one out of the catalogue
    #[command(after_long_help = REMOVING)]
    Remove {
        /// Its name; NAME or OWNER/NAME of one that was made of a berth
        name: String,
    },
}

const REMOVING: &str = "\
An image that was made of a berth is gone for good. What an administrator takes
out of the catalogue stays in the engine.

Example:
  berth image remove mine";

#[derive(clap::Args)]
struct About {
    /// A line for those who choose
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Let its users gain rights by setuid programs such as sudo
    #[arg(long)]
    sudo: bool,
}

/// The part that anybody may use, for the gateway.
#[derive(clap::Args)]
#[command(about = "Base images that berths are made of", after_long_help = "Example:\n  berth image list")]
pub(crate) struct Offered {
    #[command(subcommand)]
    command: OfferedVerb,
}

#[derive(Subcommand)]
enum OfferedVerb {
    /// Show the catalogue and what is on this node
    #[command(after_long_help = "Example:\n  berth image list")]
    List,
    /// Say what an image offers: user, shell, glibc, tar, home, CANN
    #[command(after_long_help = "Example:\n  berth image check mine")]
    Check {
        /// Its name in the catalogue, or of an image that you made of a berth
        name: String,
    },
    /// Remove an image that you made of a berth
    #[command(after_long_help = "It is gone for good.\n\nExample:\n  berth image remove mine")]
    Remove {
        /// Its name
        name: String,
    },
}

pub(crate) fn offer(global: &Global, args: &Offered) -> Result<ExitCode> {
    match &args.command {
        OfferedVerb::List => list(global),
        OfferedVerb::Check { name } => check(global, name),
        OfferedVerb::Remove { name } => remove(global, name),
    }
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    match args.command {
        Verb::List => list(global),
        Verb::Check { name } => check(global, &name),
        Verb::Remove { name } => remove(global, &name),
        Verb::Default { name } => {
            let path = format!("/v1/images/{}/default", segment("an image", &name)?);
            show(global, &wait_for(global.client()?.post(&path, &()))?)
        }
        Verb::Add { name, reference, about } => {
            let new = new_image(name, Some(reference), None, about);
            let image: ImageView = wait_for(global.client()?.post("/v1/images", &new))?;
            show(global, &image)
        }
        Verb::Pull { name, reference, about } => {
            bring(global, "/v1/images/pull", &new_image(name, reference, None, about))
        }
        Verb::Import { file, name, about } => {
            let file = std::path::absolute(&file).context("finding the file")?;
            bring(global, "/v1/images/import", &new_image(name, None, Some(file), about))
        }
    }
}

/// The path of an image that was made of a berth is its owner's.
fn image_path(name: &str) -> Result<String, Fault> {
    Ok(match name.split_once('/') {
        Some((owner, own)) => {
            format!("/v1/snapshots/{}/{}", segment("a user", owner)?, segment("an image", own)?)
        }
        None => format!("/v1/images/{}", segment("an image", name)?),
    })
}

fn remove(global: &Global, name: &str) -> Result<ExitCode> {
    let () = wait_for(global.client()?.delete(&image_path(name)?))?;
    render::note(&format!("image {name} is removed"));
    Ok(ExitCode::SUCCESS)
}

fn new_image(name: String, reference: Option<String>, file: Option<PathBuf>, about: About) -> NewImage {
    NewImage { name, reference, file, description: about.description, sudo: about.sudo }
}

fn bring(global: &Global, path: &str, new: &NewImage) -> Result<ExitCode> {
    let client = global.client()?;
    let mut shown = Shown::new();
    let image = wait_for(client.stream(Method::POST, path, Some(new), |progress| shown.show(progress)))?;
    drop(shown);
    show(global, &image)
}

fn show(global: &Global, image: &ImageView) -> Result<ExitCode> {
    if global.json {
        render::json(image)?;
    } else {
        render::line(&format!("image {} is {}", image.name, render::printable(&image.reference)));
        if image.default {
            render::line("requests that name no image get it");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(global: &Global) -> Result<ExitCode> {
    let images: Images = wait_for(global.client()?.get("/v1/images"))?;
    if global.json {
        render::json(&images)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = render::table(&["IMAGE", "ON THIS NODE", "REFERENCE", "DESCRIPTION"]);
    for image in &images.images {
        let here = image.size_bytes.map_or("no".into(), |bytes| Size(bytes).to_string());
        let name = if image.default { format!("{} (default)", image.name) } else { image.name.clone() };
        let description = image.description.as_deref().unwrap_or("");
        table.add_row([name, here, render::printable(&image.reference), render::printable(description)]);
    }
    if images.images.is_empty() {
        render::note("the catalogue is empty; add one: berth image import FILE --name NAME");
    } else {
        render::show_table(&table);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(global: &Global, name: &str) -> Result<ExitCode> {
    let path = format!("{}/check", image_path(name)?);
    let check: ImageCheck = wait_for(global.client()?.post(&path, &()))?;
    if global.json {
        render::json(&check)?;
    } else {
        let mut table = render::table(&["CHECK", "VERDICT", "SEEN", "REMEDY"]);
        for finding in &check.findings {
            let (word, color) = match finding.verdict {
                ImageVerdict::Ok => ("ok", Color::Green),
                ImageVerdict::Warn => ("warn", Color::Yellow),
                ImageVerdict::Fail => ("fail", Color::Red),
                ImageVerdict::Skipped => ("skipped", Color::Reset),
            };
            let remedy = finding.remedy.as_deref().unwrap_or("");
            table.add_row([
                Cell::new(&finding.id),
                Cell::new(word).fg(color),
                Cell::new(render::printable(&finding.seen)),
                Cell::new(remedy),
            ]);
        }
        render::show_table(&table);
    }
    if check.failed() {
        return Err(
            Fault::new(ErrorClass::CheckFailed, format!("image {name} cannot be used as it is")).into()
        );
    }
    Ok(ExitCode::SUCCESS)
}
