//! Progress on standard error: one line for each step and, on a terminal, one bar for each layer of an image.

use super::render;
use crate::host::terminal;
use crate::ops::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal;

/// Shows what the agent tells while it works.
pub(crate) struct Shown {
    bars: Option<MultiProgress>,
    layers: HashMap<String, ProgressBar>,
    last: String,
}

impl Shown {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal() && !terminal::is_dumb();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars, layers: HashMap::new(), last: String::new() }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Step { text, ticket: _ } => self.step(&text),
            Progress::Layer { id, status, current, total } => self.layer(&id, &status, current, total),
        }
    }

    fn step(&mut self, text: &str) {
        if text == self.last {
            return;
        }
        text.clone_into(&mut self.last);
        let line = format!("  {}", render::printable(text));
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => render::note(&line),
        }
    }

    fn layer(&mut self, id: &str, status: &str, current: Option<u64>, total: Option<u64>) {
        let Some(bars) = &self.bars else {
            // A log gets one line for each change of a layer, not one for each chunk.
            if current.is_none_or(|done| Some(done) == total) {
                self.step(&format!("{id}: {status}"));
            }
            return;
        };
        let bar = self.layers.entry(id.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("  {prefix:12} {msg:20} {bar:24} {bytes}/{total_bytes}");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(render::printable(id));
            bars.add(bar)
        });
        bar.set_message(render::printable(status));
        if let Some(total) = total {
            bar.set_length(total);
        }
        if let Some(current) = current {
            bar.set_position(current);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for bar in self.layers.values() {
            bar.finish_and_clear();
        }
    }
}
