//! The leases as a protocol: the real counters of several proxies against the real function in
//! Postgres, in whatever order a seed picks: reports and answers that are lost or overtaken, kills,
//! restarts, limits that are known late, proxies that are given up and come back, or leave.
//!
//! After each step holds what `docs/limits.md` promises, and in the end every hold is gone and the
//! store knows exactly what was used.

use std::fmt::Write;

use farebox_pricing::event::Event;
use tokio_postgres::Client;

use super::exchange::{Answer, Report};
use super::*;
use crate::config::Secret;
use crate::directory::follow::cluster::Cluster;
use crate::directory::follow::connect_alone;
use crate::directory::tests::limit;
use crate::directory::{Content, WindowKind};

const NODES: usize = 3;
/// Each has a counter of its own under the one limit.
const AGENTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const AMOUNT: u64 = 6;
const STEPS: usize = 400;
/// Orders that are tried; FAREBOX_LEASE_SEEDS tries more.
const SEEDS: u64 = 12;
/// More exchanges than it takes until everybody has given up what he does not need.
const SETTLED_WITHIN: usize = 200;

/// One proxy's disk, and the process on it when there is one.
struct Node {
    name: String,
    folder: tempfile::TempDir,
    epoch: u64,
    life: Option<Life>,
}

struct Life {
    directory: Arc<Directory>,
    admission: Admission,
    knows_limit: bool,
    running: Vec<(usize, Permit)>,
}

struct World<'a> {
    client: &'a Client,
    limit: Limit,
    nodes: Vec<Node>,
    /// Reports on their way whose connection was given up.
    late: Vec<(usize, u64, String)>,
    done: [u64; AGENTS.len()],
    /// What a proxy held when it was given up for dead and was not.
    slack: [u64; AGENTS.len()],
    steps: usize,
    said: String,
    chance: fastrand::Rng,
}

impl Node {
    fn start(&mut self, content: Content, knows_limit: bool) {
        self.epoch += 1;
        let directory = Arc::new(Directory::new());
        directory.replace(content, 1);
        let admission = Admission::new(Limits::On, Arc::clone(&directory))
            .noting(self.folder.path(), self.epoch);
        self.life = Some(Life {
            directory,
            admission,
            knows_limit,
            running: Vec::new(),
        });
    }
}

impl Life {
    /// One call more, if it may.
    fn begin(&mut self, agent: usize) -> Result<bool, Refusal> {
        let call = Subject {
            agent: Some(AGENTS[agent]),
            provider: "openai",
            upstream: "openai",
            ..Subject::default()
        };
        let Some(limits) = self.admission.limits_of(None) else {
            return Ok(false);
        };
        let mut permit = Permit::default();
        self.admission.begin(&limits, &call, None, &mut permit)?;
        self.running.push((agent, permit));
        Ok(true)
    }
}

impl World<'_> {
    fn content(&self, knows_limit: bool) -> Content {
        let limits = knows_limit.then(|| self.limit.clone());
        Content {
            limits: limits.into_iter().collect(),
            ..Content::default()
        }
    }

    fn running(&self, agent: usize) -> u64 {
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        let calls = lives.flat_map(|life| &life.running);
        calls.map(|(of, _)| u64::from(*of == agent)).sum()
    }

    async fn ask(&self, node: usize, epoch: u64, report: &str) -> Answer {
        let row = self
            .client
            .query_one(
                "select farebox_private.renew_limit_leases($1, $2, $3::text::jsonb)::text",
                &[
                    &self.nodes[node].name,
                    &i64::try_from(epoch).unwrap(),
                    &report,
                ],
            )
            .await
            .unwrap_or_else(|error| panic!("{error:?}\n{report}\n{}", self.said));
        serde_json::from_str(row.get(0)).unwrap()
    }

    fn report(&self, node: usize, is_leaving: bool) -> Option<(Report, String)> {
        let life = self.nodes[node].life.as_ref()?;
        let report = life.admission.report(900, 0, is_leaving);
        let text = serde_json::to_string(&report).unwrap();
        Some((report, text))
    }

    /// A whole exchange.
    async fn exchange(&mut self, node: usize, is_leaving: bool) {
        let Some((report, text)) = self.report(node, is_leaving) else {
            return;
        };
        let epoch = self.nodes[node].epoch;
        let answer = self.ask(node, epoch, &text).await;
        assert!(!answer.is_stale && !answer.is_late, "{}", self.said);
        if let Some(life) = &self.nodes[node].life {
            life.admission.answered(report, answer, i64::MAX);
        }
    }

    /// The store gives a proxy up that it does not hear of; so does the proxy itself.
    async fn lapse(&mut self, node: usize) {
        let lapse = "update farebox_private.limit_nodes set lapses_at = now() where node = $1";
        self.exchange(node, false).await;
        let name = self.nodes[node].name.clone();
        self.client.execute(lapse, &[&name]).await.unwrap();
        if let Some(life) = &self.nodes[node].life {
            for (agent, _) in &life.running {
                self.slack[*agent] += 1;
            }
            let standing = &life.admission.around.standing;
            standing.renewed(standing.share_of(), standing.live(), 0);
        }
    }

    async fn step(&mut self) {
        let node = self.chance.usize(..NODES);
        let what = self.chance.u32(..100);
        self.steps += 1;
        let _ = write!(self.said, " {node}:{what}");
        if self.nodes[node].life.is_none() {
            let knows_limit = self.chance.bool();
            let content = self.content(knows_limit);
            self.nodes[node].start(content, knows_limit);
            return;
        }
        match what {
            0..36 => {
                // One counter after the other comes into use.
                let known = self.steps * AGENTS.len() / STEPS + 1;
                let agent = self.chance.usize(..known.min(AGENTS.len()));
                if let Some(life) = &mut self.nodes[node].life {
                    let _ = life.begin(agent);
                }
            }
            36..50 => {
                let event = event();
                if let Some(life) = &mut self.nodes[node].life
                    && let Some((agent, mut permit)) = life.running.pop()
                {
                    permit.settle(&event, None);
                    self.done[agent] += 1;
                }
            }
            50..52 => {
                // It never reached an upstream.
                if let Some(life) = &mut self.nodes[node].life {
                    life.running.pop();
                }
            }
            52..68 => self.exchange(node, false).await,
            68..71 => {
                // The report never arrives.
                if let (Some((report, _)), Some(life)) =
                    (self.report(node, false), &self.nodes[node].life)
                {
                    life.admission.not_reported(report);
                }
            }
            71..76 => {
                // It does, and its answer is lost.
                if let Some((report, text)) = self.report(node, false) {
                    self.ask(node, self.nodes[node].epoch, &text).await;
                    if let Some(life) = &self.nodes[node].life {
                        life.admission.not_reported(report);
                    }
                }
            }
            76..81 => {
                // It arrives some time later.
                if let (Some((report, text)), Some(life)) =
                    (self.report(node, false), &self.nodes[node].life)
                {
                    life.admission.not_reported(report);
                    self.late.push((node, self.nodes[node].epoch, text));
                }
            }
            81..87 => {
                if !self.late.is_empty() {
                    let which = self.chance.usize(..self.late.len());
                    let (node, epoch, text) = self.late.swap_remove(which);
                    self.ask(node, epoch, &text).await;
                }
            }
            87..91 => self.nodes[node].life = None,
            91..93 => {
                let content = self.content(true);
                if let Some(life) = &mut self.nodes[node].life
                    && !std::mem::replace(&mut life.knows_limit, true)
                {
                    life.directory.replace(content, 2);
                }
            }
            93..95 => self.lapse(node).await,
            _ => {
                let is_idle = |life: &Life| life.running.is_empty();
                if self.nodes[node].life.as_ref().is_some_and(is_idle) {
                    self.exchange(node, true).await;
                    self.nodes[node].life = None;
                }
            }
        }
    }

    fn check(&self) {
        for (agent, name) in AGENTS.iter().enumerate() {
            let (done, running, slack) = (self.done[agent], self.running(agent), self.slack[agent]);
            assert!(
                done + running <= AMOUNT + slack,
                "{name}: {done} done, {running} run, {AMOUNT} + {slack} may:{}",
                self.said
            );
        }
    }

    /// Everything comes back; what is left can be used to the last, and the store knows it.
    async fn end(&mut self) {
        let event = event();
        for node in 0..NODES {
            if self.nodes[node].life.is_none() {
                let content = self.content(true);
                self.nodes[node].start(content, true);
            }
            let content = self.content(true);
            if let Some(life) = &mut self.nodes[node].life {
                life.directory.replace(content, 3);
                for (agent, mut permit) in std::mem::take(&mut life.running) {
                    permit.settle(&event, None);
                    self.done[agent] += 1;
                }
            }
        }
        self.check();
        for _ in 0..SETTLED_WITHIN {
            if self.done.iter().all(|done| *done >= AMOUNT) {
                break;
            }
            for node in 0..NODES {
                self.exchange(node, false).await;
                for agent in 0..AGENTS.len() {
                    if let Some(life) = &mut self.nodes[node].life
                        && let Ok(true) = life.begin(agent)
                        && let Some((_, mut permit)) = life.running.pop()
                    {
                        permit.settle(&event, None);
                        self.done[agent] += 1;
                    }
                }
                self.check();
            }
        }
        let least = self.done.iter().min();
        assert!(least >= Some(&AMOUNT), "{:?}:{}", self.done, self.said);
        for node in 0..NODES {
            self.exchange(node, true).await;
        }
        let row = self
            .client
            .query_one(
                "select
                     (select trim_scale(coalesce(sum(used), 0))::text
                      from farebox_private.limit_usage where limit_id = $1),
                     (select count(*) from farebox_private.limit_leases where limit_id = $1)",
                &[&self.limit.limit_id],
            )
            .await
            .unwrap();
        let (used, leases): (String, i64) = (row.get(0), row.get(1));
        let done: u64 = self.done.iter().sum();
        assert_eq!((used, leases), (done.to_string(), 0), "{}", self.said);
    }
}

fn event() -> Event {
    crate::metrics::tests::event(Some("acme"), "gpt-4o-mini")
}

#[tokio::test]
async fn what_all_proxies_spend_stays_within_the_amount_in_whatever_order_things_happen() {
    let cluster = Cluster::start();
    let url = Secret::new(format!(
        "postgresql:///postgres?host={}&user=postgres",
        cluster.folder.path().display()
    ));
    let (client, _connection) = connect_alone(&url).await.unwrap();
    let seeds = std::env::var("FAREBOX_LEASE_SEEDS");
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let limit = Limit {
            per: vec![Dimension::Agent],
            ..limit(u128::from(seed) + 1, None, AMOUNT, WindowKind::Month)
        };
        cluster.sql(&format!(
            "delete from farebox_private.limits;
             delete from farebox_private.limit_nodes;
             insert into farebox_private.limits (limit_id, meter, amount, window_kind, per)
             values ('{}', 'requests', {AMOUNT}, 'month', '{{agent}}');",
            limit.limit_id
        ));
        let mut world = World {
            client: &client,
            limit,
            nodes: (0..NODES)
                .map(|node| Node {
                    name: format!("node-{seed}-{node}"),
                    folder: tempfile::tempdir().unwrap(),
                    epoch: 0,
                    life: None,
                })
                .collect(),
            late: Vec::new(),
            steps: 0,
            done: [0; AGENTS.len()],
            slack: [0; AGENTS.len()],
            said: format!("\nseed {seed}, node:step"),
            chance: fastrand::Rng::with_seed(seed),
        };
        for _ in 0..STEPS {
            world.step().await;
            world.check();
        }
        world.end().await;
    }
}
