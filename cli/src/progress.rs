//! The one line on the terminal that shows how far a query is.

use crate::figures;
use coordinator::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Queries that end before this show no progress at all.
const QUIET_TIME: Duration = Duration::from_millis(300);
/// Unfinished stages named in the line.
const NAMED_STAGES: usize = 4;

/// A line on standard error that is drawn over again, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct ProgressLine {
    bar: Option<ProgressBar>,
}

impl ProgressLine {
    /// A line that is drawn if `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        let bar = shown.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { bar }
    }

    /// A line that never shows.
    pub(crate) fn hidden() -> Self {
        Self { bar: None }
    }

    /// Shows how far the query is after `elapsed`.
    pub(crate) fn draw(&self, progress: &Progress, elapsed: Duration) {
        if elapsed >= QUIET_TIME {
            self.say(text(progress, elapsed));
        }
    }

    /// Shows `text`, unless the line has been cleared.
    pub(crate) fn say(&self, text: impl Into<String>) {
        if let Some(bar) = self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            bar.set_message(text.into());
            bar.tick();
        }
    }

    /// Takes the line away for good.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            bar.finish_and_clear();
        }
    }
}

fn text(progress: &Progress, elapsed: Duration) -> String {
    let stages = &progress.stages;
    let seconds = format!("{:.1} s", elapsed.as_secs_f64());
    if stages.is_empty() {
        return format!("{seconds} | running");
    }
    let (done, tasks) = stages.iter().fold((0, 0), |(done, tasks), stage| (done + u64::from(stage.done), tasks + u64::from(stage.tasks)));
    let finished = stages.iter().filter(|stage| stage.done == stage.tasks).count();
    let open = stages.iter().filter(|stage| stage.done < stage.tasks).take(NAMED_STAGES);
    let open: Vec<String> = open.map(|stage| format!("stage {}: {}/{}", stage.stage, stage.done, stage.tasks)).collect();
    let open = if open.is_empty() { "reading the result".to_owned() } else { open.join(", ") };
    format!(
        "{seconds} | {done}/{tasks} tasks, {finished}/{} stages | {open} | {} scanned",
        stages.len(),
        figures::bytes(progress.scanned_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator::StageProgress;
    use engine::ids::StageId;

    #[test]
    fn the_line_names_what_is_not_done() {
        let stage = |id, done, tasks| StageProgress { stage: StageId(id), done, tasks };
        let progress = Progress { stages: vec![stage(1, 4, 4), stage(2, 1, 3), stage(3, 0, 2)], scanned_bytes: 12_345_678 };
        assert_eq!(
            text(&progress, Duration::from_millis(3_210)),
            "3.2 s | 5/9 tasks, 1/3 stages | stage 2: 1/3, stage 3: 0/2 | 12.3 MB scanned"
        );
        assert_eq!(text(&Progress::default(), Duration::from_secs(1)), "1.0 s | running");
    }
}
