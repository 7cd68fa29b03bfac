//! One running program: its output in a file, killed when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Result, wait};

/// Longest orderly end.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A child process with its log.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Everything it has printed.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A named signal, as `kill -NAME`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("kill -{name} {} failed", self.pid()).into())
        }
    }

    /// SIGTERM, then waits for the orderly end; its exit code.
    pub async fn stop(&mut self) -> Result<Option<i32>> {
        self.signal("TERM")?;
        let child = &mut self.child;
        wait::eventually("the process ends after SIGTERM", STOP_MAX, || {
            let ended = child.try_wait();
            async move {
                match ended {
                    Ok(Some(status)) => Ok(status.code()),
                    Ok(None) => Err("still running".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
