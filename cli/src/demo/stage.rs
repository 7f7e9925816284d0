//! Progress: a moving line on a terminal, one plain line for each finished stage in a pipe.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::{self, DIM, GOOD, RESET};

/// The stages of a run.
pub struct Stages {
    began: Instant,
}

/// One stage under way.
pub struct Stage {
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Stages {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Begins a stage that takes as long as it takes.
    pub fn begin(&self, what: &'static str) -> Stage {
        self.stage(ProgressBar::new_spinner(), "{spinner} {msg}", what)
    }

    /// Begins a stage of so many steps.
    pub fn count(&self, what: &'static str, steps: usize) -> Stage {
        self.stage(
            ProgressBar::new(steps as u64),
            "{spinner} {msg} {wide_bar} {pos}/{len}",
            what,
        )
    }

    fn stage(&self, bar: ProgressBar, template: &str, what: &'static str) -> Stage {
        let bar = terminal::watched().then(|| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Stage {
            bar,
            began: self.began,
        }
    }
}

impl Stage {
    /// One step further.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// The stage is over, and this came of it.
    pub fn done(self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let at = self.began.elapsed().as_secs_f32();
        terminal::note(&format!("{GOOD}✓{RESET} {what} {DIM}({at:.1} s){RESET}\n"));
    }
}
