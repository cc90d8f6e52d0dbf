//! Child processes: each leads a process group of its own, and none outlives the emulator.
use crate::tasks::Tasks;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;

/// How long a stop waits for killed processes to be gone.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);

/// All children that are alive.
#[derive(Default)]
pub(crate) struct Processes {
    alive: watch::Sender<HashSet<Pid>>,
    reapers: Tasks,
    /// Set once; a process that starts later is killed at once.
    closed: Mutex<bool>,
}

impl Processes {
    /// Starts `command` and watches for its end.
    pub(crate) fn spawn(self: &Arc<Self>, mut command: Command) -> std::io::Result<Process> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(std::io::Error::other("the emulator is stopping"));
        }
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| std::io::Error::other("the process ended before it had an id"))?;
        self.alive.send_modify(|alive| _ = alive.insert(pid));
        let (exited, exit) = watch::channel(None);
        let processes = Arc::clone(self);
        self.reapers.spawn(async move {
            let status = child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(Signal::KILL.as_raw()));
            // What the process itself started goes with it.
            let _ = kill_process_group(pid, Signal::KILL);
            processes.alive.send_modify(|alive| _ = alive.remove(&pid));
            exited.send_replace(Some(status));
        });
        Ok(Process { pid, exit })
    }

    /// Kills every process group; none can start afterwards.
    pub(crate) fn kill_all(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        for pid in self.alive.borrow().iter() {
            let _ = kill_process_group(*pid, Signal::KILL);
        }
        // The reapers end as soon as the processes do.
        self.reapers.detach();
    }

    /// Waits until every killed process is gone.
    pub(crate) async fn gone(&self) {
        let mut alive = self.alive.subscribe();
        let _ = tokio::time::timeout(REAP_TIMEOUT, alive.wait_for(HashSet::is_empty)).await;
    }
}

/// One child. Its group is killed when this is dropped.
pub(crate) struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    pub(crate) fn is_alive(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Waits for the end of the process.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let status = self.exit.wait_for(Option::is_some).await;
        status.ok().and_then(|status| *status).unwrap_or_else(|| ExitStatus::from_raw(Signal::KILL.as_raw()))
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops all threads of the group until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Peak of the resident memory in MiB, rounded up; `None` when the process is gone.
    pub(crate) fn peak_memory_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.div_ceil(1024))
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a process in Lambda's words, such as `exit status 1` or `signal: killed`.
pub(crate) fn describe(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exit status {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        9 => "killed",
        11 => "segmentation fault",
        15 => "terminated",
        other => return format!("signal: {other}"),
    };
    format!("signal: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described_as_lambda_does() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "exit status 1");
        assert_eq!(describe(ExitStatus::from_raw(9)), "signal: killed");
        assert_eq!(describe(ExitStatus::from_raw(134)), "signal: aborted");
    }
}
