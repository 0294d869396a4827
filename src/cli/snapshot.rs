//! `berth snapshot`: an image of one's own, made of a berth.

use super::progress::Shown;
use super::{Global, render};
use crate::agent::types::NewSnapshot;
use crate::cli::call::{berth_name, segment, wait_for};
use crate::model::Size;
use crate::ops::images::ImageView;
use anyhow::Result;
use hyper::Method;
use std::process::ExitCode;

/// Make an image of your own of a berth
#[derive(clap::Args)]
#[command(after_long_help = "\
The image has all that the berth wrote outside its personal storage. What is
mounted is not in it: personal storage, datasets, keys. A live berth stands
still while it is copied. Only you and administrators see the image, and may
make berths of it: that is the way back to how it is now.

Examples:
  berth snapshot train before-upgrade
  berth request --cards 2 --image before-upgrade")]
pub(crate) struct Args {
    /// The berth's name, or OWNER/NAME
    name: String,
    /// The image's name
    image: String,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    segment("an image", &args.image)?;
    let new = NewSnapshot { berth: berth_name(&args.name)?.to_owned(), image: args.image };
    let client = global.client()?;
    let mut shown = Shown::new();
    let image: ImageView =
        wait_for(client.stream(Method::POST, "/v1/snapshots", Some(&new), |progress| shown.show(progress)))?;
    drop(shown);
    if global.json {
        render::json(&image)?;
        return Ok(ExitCode::SUCCESS);
    }
    let size = image.size_bytes.map_or_else(String::new, |bytes| format!(", {}", Size(bytes)));
    render::line(&format!("image {} is made of {}{size}", image.name, new.berth));
    render::note(&format!(
        "personal storage is not in it; berth request --image {} makes a berth of it",
        new.image
    ));
    Ok(ExitCode::SUCCESS)
}
