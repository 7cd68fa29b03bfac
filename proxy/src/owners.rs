//! Who owns what vendors keep: learnt where a call made it, else asked of the collector.
//!
//! What this proxy saw being made is known at once and for as long as there is room; of anything else
//! the collector is asked, which is the one thing a request may wait for. A thing belongs to whoever
//! made it first and never changes hands. An answer that nobody is known to own it is not kept: its
//! event may be on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farebox_pricing::event::{Event, PaidBy};
use farebox_pricing::id::TenantId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::shipper::link::Link;

/// Things whose owners are remembered; past it those not asked for lately are forgotten.
pub const OWNERS_MAX: usize = 65_536;
/// Questions to the collector at one time.
const ASKING_MAX: usize = 8;
/// Questions that wait for their turn; a further one has no answer.
const WAITING_MAX: usize = 1_024;
/// Waits between questions while nobody is known to own a thing: another proxy may just be shipping
/// the event that made it. After the last one it is nobody's.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(350),
];

/// Who made a thing; a caller without a tenant is an owner of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(pub Option<TenantId>);

/// Where ids are told apart: the vendor, and the operator's credential there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The vendor.
    pub provider: &'a str,
    /// The credential, by name.
    pub credential: &'a str,
}

/// The collector did not say in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable;

/// What is known, and the way to the collector.
pub struct Owners {
    known: Mutex<Known>,
    asks: mpsc::Sender<Ask>,
    /// Taken by the task that answers.
    asked: Mutex<Option<mpsc::Receiver<Ask>>>,
    urgent: Arc<Notify>,
    bound: Duration,
}

/// A question and where its answer goes.
struct Ask {
    body: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<Found>, Unavailable>>,
}

#[derive(Serialize)]
struct Question<'a> {
    provider: &'a str,
    account: &'a str,
    object_ids: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    owners: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    object_id: String,
    tenant_id: Option<TenantId>,
}

impl Owners {
    /// Nothing is known; a question waits at most `bound`.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        Self {
            known: Mutex::default(),
            asks,
            asked: Mutex::new(Some(asked)),
            urgent: Arc::default(),
            bound,
        }
    }

    /// Told when an event that names a thing is in the spool, or about to be.
    #[must_use]
    pub fn urgent(&self) -> Arc<Notify> {
        Arc::clone(&self.urgent)
    }

    /// Remembers what a call with the operator's credential made, and has its event shipped at once.
    pub fn learn(&self, event: &Event) {
        let (PaidBy::Operator, Some(credential)) = (event.paid_by, &event.credential_id) else {
            return;
        };
        if event.objects.is_empty() {
            return;
        }
        let account = Account {
            provider: &event.provider,
            credential,
        };
        let mut known = self.known();
        for object in &event.objects {
            known.insert(key(account, object), Owner(event.tenant_id.clone()));
        }
        drop(known);
        self.urgent.notify_one();
    }

    /// The owner of a thing that is known by one of these names; `None`: it is nobody's.
    pub async fn owner(
        &self,
        account: Account<'_>,
        names: &[String],
    ) -> Result<Option<Owner>, Unavailable> {
        let end = Instant::now() + self.bound;
        if let Some(owner) = self.remembered(account, names) {
            return Ok(Some(owner));
        }
        let mut patience = PATIENCE.iter();
        loop {
            if let Some(owner) = self.ask(account, names, end).await? {
                return Ok(Some(owner));
            }
            let Some(wait) = patience.next() else {
                return Ok(None);
            };
            sleep(*wait).await;
            if let Some(owner) = self.remembered(account, names) {
                return Ok(Some(owner));
            }
        }
    }

    fn remembered(&self, account: Account<'_>, names: &[String]) -> Option<Owner> {
        let mut known = self.known();
        names.iter().find_map(|name| known.get(&key(account, name)))
    }

    async fn ask(
        &self,
        account: Account<'_>,
        names: &[String],
        end: Instant,
    ) -> Result<Option<Owner>, Unavailable> {
        let question = Question {
            provider: account.provider,
            account: account.credential,
            object_ids: names,
        };
        let body = serde_json::to_vec(&question).map_err(|_| Unavailable)?;
        let (reply, replied) = oneshot::channel();
        let ask = Ask { body, reply };
        self.asks.try_send(ask).map_err(|_| Unavailable)?;
        let Ok(Ok(found)) = timeout_at(end, replied).await else {
            return Err(Unavailable);
        };
        let Some(found) = found?.into_iter().next() else {
            return Ok(None);
        };
        let owner = Owner(found.tenant_id);
        let mut known = self.known();
        known.insert(key(account, &found.object_id), owner.clone());
        Ok(Some(owner))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(account: Account<'_>, name: &str) -> String {
    format!("{}\0{}\0{name}", account.provider, account.credential)
}

/// Two halves: what is asked for moves into the young one, and when that is full the old one goes.
#[derive(Default)]
struct Known {
    young: HashMap<String, Owner>,
    old: HashMap<String, Owner>,
}

impl Known {
    fn get(&mut self, key: &str) -> Option<Owner> {
        if let Some(owner) = self.young.get(key) {
            return Some(owner.clone());
        }
        let (key, owner) = self.old.remove_entry(key)?;
        self.put(key, owner.clone());
        Some(owner)
    }

    /// The first owner stays.
    fn insert(&mut self, key: String, owner: Owner) {
        if self.get(&key).is_none() {
            self.put(key, owner);
        }
    }

    fn put(&mut self, key: String, owner: Owner) {
        if self.young.len() >= OWNERS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, owner);
    }
}

/// Brings questions to the collector until `stop`. Without one there is no answer.
pub async fn answer(shared: Arc<Shared>, stop: CancellationToken) {
    let owners = &shared.owners;
    let asked = owners.asked.lock().map(|mut asked| asked.take());
    let (Ok(Some(asked)), Some(ship_to)) = (asked, &shared.config.ship_to) else {
        return;
    };
    let asked = Arc::new(tokio::sync::Mutex::new(asked));
    for _ in 0..ASKING_MAX {
        let link = match Link::new(ship_to, crate::config::ShipCompression::None) {
            Ok(link) => link,
            Err(error) => {
                tracing::error!(%error, "nobody can be asked who owns what");
                return;
            }
        };
        let carrying = carry(link, Arc::clone(&asked), owners.bound);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = carrying => {}
                () = stop.cancelled() => {}
            }
        });
    }
    stop.cancelled().await;
}

async fn carry(
    mut link: Link,
    asked: Arc<tokio::sync::Mutex<mpsc::Receiver<Ask>>>,
    bound: Duration,
) {
    loop {
        let next = asked.lock().await.recv().await;
        let Some(Ask { body, reply }) = next else {
            return;
        };
        if reply.is_closed() {
            continue;
        }
        let answer = timeout_at(Instant::now() + bound, link.ask_owners(body.into())).await;
        let found = match answer {
            Ok(Ok((status, body))) if status.is_success() => {
                serde_json::from_slice::<Answer>(&body)
                    .map(|answer| answer.owners)
                    .map_err(|error| error.to_string())
            }
            Ok(Ok((status, _))) => Err(format!("status {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the answer took too long".to_owned()),
        };
        let found = found.map_err(|why| {
            tracing::debug!(why, "the collector does not say who owns a thing");
            Unavailable
        });
        // Whoever asked may have gone.
        let _ = reply.send(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account<'static> = Account {
        provider: "p",
        credential: "c",
    };

    fn owner(name: &str) -> Owner {
        Owner(TenantId::new(name).ok())
    }

    #[test]
    fn the_first_owner_stays_and_room_is_bounded() {
        let mut known = Known::default();
        known.insert(key(ACCOUNT, "x"), owner("acme"));
        known.insert(key(ACCOUNT, "x"), owner("globex"));
        assert_eq!(known.get(&key(ACCOUNT, "x")), Some(owner("acme")));
        for number in 0..OWNERS_MAX * 2 {
            known.insert(key(ACCOUNT, &number.to_string()), Owner(None));
            // What is asked for is not forgotten.
            assert!(known.get(&key(ACCOUNT, "x")).is_some());
            assert!(known.young.len() + known.old.len() <= OWNERS_MAX);
        }
        assert_eq!(known.get(&key(ACCOUNT, "0")), None);
    }

    #[tokio::test]
    async fn without_a_collector_there_is_no_answer_and_no_wait_past_the_bound() {
        let owners = Owners::new(Duration::from_millis(10));
        let asked = owners.owner(ACCOUNT, &["x".to_owned()]).await;
        assert_eq!(asked, Err(Unavailable));
    }
}
