//! How far long work is: a bar on a terminal, a plain line now and then otherwise, both on stderr.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows one piece of work. Ends when dropped.
pub struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    said: usize,
}

impl Progress {
    /// Of work called `what`.
    pub fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{msg:9} {wide_bar} {pos}/{len} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        Self { what, bar, said: 0 }
    }

    /// `done` of `total`; a total of 0 is not known yet.
    pub fn at(&mut self, done: usize, total: usize) {
        match &self.bar {
            Some(bar) => {
                if total > 0 {
                    bar.set_length(total as u64);
                }
                bar.set_position(done as u64);
            }
            None if done >= self.said + LINE_EACH => {
                self.said = done;
                let total = if total > 0 {
                    format!(" of {total}")
                } else {
                    String::new()
                };
                eprintln!("{} {done}{total}", self.what);
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Without a terminal somebody reads a log: a line for each of these many.
const LINE_EACH: usize = 1000;
