//! The one line on the terminal that shows how far a query is.
//!
//! Drawn by hand: a progress bar library fills its line to the right edge, and then the terminal's echo of Ctrl-C
//! starts another line and leaves the bar standing.

use crate::figures;
use crate::tell::draw;
use coordinator::Progress;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Queries that end before this show no progress at all.
const QUIET_TIME: Duration = Duration::from_millis(300);
/// Unfinished stages named in the line.
const NAMED_STAGES: usize = 4;
/// To the start of the line, and the line empty.
const ERASE: &str = "\r\x1b[2K";
/// From here, text beyond the right edge is dropped.
const CUT: &str = "\x1b[?7l";
/// From here, it goes on in the next line again.
const WRAP: &str = "\x1b[?7h";

/// A line on standard error that is drawn over again, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct ProgressLine {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is on the screen yet.
    Waiting,
    /// A text is on the screen.
    Shown,
    /// Nothing will be shown any more.
    Done,
}

impl ProgressLine {
    /// A line that is drawn if `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        let state = if shown { State::Waiting } else { State::Done };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A line that never shows.
    pub(crate) fn hidden() -> Self {
        Self::new(false)
    }

    /// Shows how far the query is after `elapsed`.
    pub(crate) fn draw(&self, progress: &Progress, elapsed: Duration) {
        if elapsed >= QUIET_TIME {
            self.say(&text(progress, elapsed));
        }
    }

    /// Shows `text`, unless the line has been cleared.
    pub(crate) fn say(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Done {
            draw(&format!("{ERASE}{CUT}{text}{WRAP}"));
            *state = State::Shown;
        }
    }

    /// Takes the line away for good.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *state, State::Done) == State::Shown {
            draw(ERASE);
        }
    }
}

fn text(progress: &Progress, elapsed: Duration) -> String {
    let stages = &progress.stages;
    let seconds = format!("{:.1} s", elapsed.as_secs_f64());
    if stages.is_empty() {
        return format!("{seconds} | running");
    }
    let (done, tasks) =
        stages.iter().fold((0, 0), |(done, tasks), stage| (done + u64::from(stage.done), tasks + u64::from(stage.tasks)));
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
        let progress = Progress {
            stages: vec![stage(1, 4, 4), stage(2, 1, 3), stage(3, 0, 2)],
            scanned_bytes: 12_345_678,
            ..Progress::default()
        };
        assert_eq!(
            text(&progress, Duration::from_millis(3_210)),
            "3.2 s | 5/9 tasks, 1/3 stages | stage 2: 1/3, stage 3: 0/2 | 12.3 MB scanned"
        );
        assert_eq!(text(&Progress::default(), Duration::from_secs(1)), "1.0 s | running");
    }
}
