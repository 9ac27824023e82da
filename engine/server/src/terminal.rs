//! What people see while a command works: colors and progress bars, on a terminal only, always on standard error.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// When output is colored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether what goes to standard error is colored.
    pub fn on_stderr(self) -> bool {
        match self {
            Self::Auto => {
                let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                stderr().is_terminal() && !forbidden
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The progress bars of a command. Clones are the same bars.
#[derive(Clone, Debug)]
pub struct Bars {
    bars: MultiProgress,
    shown: bool,
}

impl Bars {
    /// Bars on standard error, which are invisible unless it is a terminal.
    pub fn new() -> Self {
        let shown = stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), shown }
    }

    /// Whether anybody sees them.
    pub fn are_shown(&self) -> bool {
        self.shown
    }

    /// A bar that counts bytes; without a total it only says how many there were.
    pub fn bytes(&self, what: &str, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => {
                "{msg:<20!} [{bar:24}] {bytes:>10} of {total_bytes} · {binary_bytes_per_sec} · {eta} left"
            }
            None => "{msg:<20!} {spinner} {bytes} · {binary_bytes_per_sec}",
        };
        self.bar(what, total, template)
    }

    /// A bar that counts other things, such as events.
    pub fn count(&self, what: &str, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => "{msg:<20!} [{bar:24}] {human_pos} of {human_len} · {per_sec} · {eta} left",
            None => "{msg:<20!} {spinner} {human_pos} · {per_sec}",
        };
        self.bar(what, total, template)
    }

    fn bar(&self, what: &str, total: Option<u64>, template: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let bar = self.bars.add(bar.with_style(style.progress_chars("━╸ ")).with_message(what.to_owned()));
        if self.shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }

    /// Takes the bars away while `write` writes to the terminal.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}
