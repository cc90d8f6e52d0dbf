//! Memory and open files of the functions' processes, and whether they grow.

use std::collections::BTreeMap;
use std::time::Duration;

/// Growth from the second quarter of the time to the last one that is no leak: part of the former, and in MB or files.
const TOLERATED_PART: f64 = 0.2;
const TOLERATED_MB: f64 = 24.0;
const TOLERATED_FILES: f64 = 8.0;
/// Time between two lines.
const LINE_PAUSE: Duration = Duration::from_secs(60);

/// What the processes of one program hold.
#[derive(Clone, Copy, Default)]
struct Held {
    processes: u64,
    rss_mb: f64,
    files: f64,
}

/// The children of this process at one moment, by program.
#[derive(Clone, Default)]
pub(super) struct Processes(BTreeMap<String, Held>);

impl Processes {
    /// Looks at them.
    pub(super) fn look() -> Self {
        let mut all = Self::default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some((name, rss_mb)) = child(&entry.path()) {
                let files = std::fs::read_dir(entry.path().join("fd")).map_or(0, Iterator::count);
                let held = all.0.entry(name).or_default();
                held.processes += 1;
                held.rss_mb += rss_mb;
                held.files += files as f64;
            }
        }
        all
    }
}

/// Name and resident memory of a process, if it is a child of this one.
fn child(folder: &std::path::Path) -> Option<(String, f64)> {
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    if field("PPid")? != std::process::id().to_string() {
        return None;
    }
    let kib: f64 = field("VmRSS")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some((field("Name")?.to_owned(), kib / 1_024.0))
}

impl std::fmt::Display for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |(name, held): (&String, &Held)| {
            let count = held.processes as f64;
            format!("{} {name}: {:.0} MB, {:.0} files each", held.processes, held.rss_mb / count, held.files / count)
        };
        f.write_str(&self.0.iter().map(show).collect::<Vec<_>>().join("; "))
    }
}

/// All looks.
#[derive(Default)]
pub(super) struct Growth {
    looks: Vec<Processes>,
    lines: u32,
}

impl Growth {
    /// Adds a look; gives it back when a line is due.
    pub(super) fn add(&mut self, now: Duration, processes: Processes) -> Option<Processes> {
        self.looks.push(processes.clone());
        if now < LINE_PAUSE * (self.lines + 1) {
            return None;
        }
        self.lines += 1;
        Some(processes)
    }

    /// Mean memory and files of a process in the second and in the last quarter, by program.
    fn quarters(&self) -> BTreeMap<String, [(f64, f64); 2]> {
        let quarter = self.looks.len() / 4;
        let mean = |looks: &[Processes], name: &str| {
            let mut sum = Held::default();
            for held in looks.iter().filter_map(|look| look.0.get(name)) {
                sum.processes += held.processes;
                sum.rss_mb += held.rss_mb;
                sum.files += held.files;
            }
            let count = sum.processes.max(1) as f64;
            (sum.rss_mb / count, sum.files / count)
        };
        let parts = [self.looks.get(quarter..2 * quarter), self.looks.get(self.looks.len() - quarter..)];
        let names = self.looks.last().map(|look| look.0.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        names.into_iter().map(|name| (name.clone(), parts.map(|part| mean(part.unwrap_or_default(), &name)))).collect()
    }

    /// Programs that grow, and how.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (name, [(early_mb, early_files), (late_mb, late_files)]) in self.quarters() {
            if late_mb > early_mb * (1.0 + TOLERATED_PART) + TOLERATED_MB {
                problems.push((name.clone(), format!("memory grows: {early_mb:.0} MB, later {late_mb:.0} MB each")));
            }
            if late_files > early_files * (1.0 + TOLERATED_PART) + TOLERATED_FILES {
                problems.push((name, format!("open files grow: {early_files:.0}, later {late_files:.0} each")));
            }
        }
        problems
    }
}

impl std::fmt::Display for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |(name, [(early_mb, early_files), (late_mb, late_files)]): (String, [(f64, f64); 2])| {
            format!(
                "{name}: {early_mb:.0} MB and {early_files:.0} files each in the second quarter, {late_mb:.0} MB and {late_files:.0} in the last"
            )
        };
        f.write_str(&self.quarters().into_iter().map(show).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grows_is_a_problem() {
        let growth = |slope: f64| {
            let look = |n: u32| {
                Processes([("w".to_owned(), Held { processes: 2, rss_mb: 200.0 + slope * f64::from(n), files: 40.0 })].into())
            };
            Growth { looks: (0..40).map(look).collect(), lines: 0 }
        };
        assert!(growth(0.0).problems().is_empty());
        assert_eq!(growth(10.0).problems().len(), 1);
        assert!(Growth::default().problems().is_empty());
    }
}
