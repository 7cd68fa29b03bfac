//! A second proxy of a stack: the same database, collector and configuration, a spool of its own.

use std::net::SocketAddr;

use crate::Result;
use crate::process::Process;
use crate::stack::Stack;
use crate::wait;
use crate::wire::{Connection, Message, Request};

/// Longest time until it is ready.
const READY_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// A proxy beside a stack's own.
pub struct Beside {
    /// Its plain listener.
    pub plain: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl Beside {
    /// Starts one, until it is ready.
    pub async fn start(stack: &Stack, name: &str) -> Result<Self> {
        let (plain, ops) = (crate::stack::free_port()?, crate::stack::free_port()?);
        let mut command = stack.role("proxy");
        let spool = stack.folder.path().join(format!("spool-{name}"));
        let data = stack.folder.path().join(format!("data-{name}"));
        std::fs::create_dir_all(&data)?;
        command
            .env("FAREBOX_PROXY__LISTEN", plain.to_string())
            .env("FAREBOX_PROXY__OPS_LISTEN", ops.to_string())
            .env("FAREBOX_SPOOL__DIR", spool)
            .env("FAREBOX_DATA_DIR", data);
        for name in ["LISTEN", "CERT", "KEY"] {
            command.env_remove(format!("FAREBOX_PROXY__TLS__{name}"));
        }
        let log = stack.folder.path().join(format!("proxy-{name}.log"));
        let process = Process::start(command, &log)?;
        crate::stack::world()?.cluster.adopt(process.pid())?;
        let beside = Self { plain, process };
        wait::eventually("the second proxy is ready", READY_MAX, || async {
            let answer = Connection::open(ops).await.map_err(|e| e.to_string())?;
            let mut answer = answer;
            let answer = answer.send(&Request::get("/readyz")).await;
            match answer.map(|answer| answer.status()) {
                Ok(200) => Ok(()),
                other => Err(format!("{other:?}; {}", beside.process.printed())),
            }
        })
        .await?;
        Ok(beside)
    }

    /// One request over a connection of its own.
    pub async fn send(&self, request: &Request) -> Result<Message> {
        Connection::open(self.plain).await?.send(request).await
    }
}
