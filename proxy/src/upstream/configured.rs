//! What a configuration makes of the upstreams.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Origin, Upstream};
use crate::config::{self, Config, Secret, StreamUsage, UpstreamConfig};
use crate::provider;
use crate::route::Upstreams;

/// What a simulated upstream is shown as a credential.
const TEST_CREDENTIAL: &str = "farebox-test";

/// Built-in upstreams, each as configured, and those that only configuration knows.
pub(crate) fn upstreams_of(config: &Config) -> Result<Upstreams, String> {
    let mut all: BTreeMap<&str, UpstreamConfig> = provider::ALL
        .iter()
        .map(|provider| (provider.name, UpstreamConfig::default()))
        .collect();
    for (name, upstream) in &config.upstreams {
        all.insert(name, upstream.clone());
    }
    let mut upstreams = Upstreams::default();
    let mut index = 0;
    for (name, upstream) in all {
        if matches!(name, "t" | "s") || name.is_empty() || name.contains('/') {
            return Err(format!("upstreams.{name}: the name is not allowed"));
        }
        let dialect = upstream.dialect.as_deref().unwrap_or(name);
        let provider = provider::dialect(dialect)
            .ok_or_else(|| format!("upstreams.{name}.dialect: {dialect} is not a known dialect"))?;
        let base_url = match &upstream.base_url {
            Some(base_url) => base_url.as_str(),
            None if provider::find(name).is_some() && !provider.base_url.is_empty() => {
                provider.base_url
            }
            // Its address is the operator's own: until that is configured it is not there.
            None if provider::find(name).is_some() => continue,
            None => {
                return Err(format!(
                    "upstreams.{name}.base_url: needed for an upstream that is not built in"
                ));
            }
        };
        let origin = Origin::parse(base_url, upstream.ca_file.as_ref())
            .map_err(|error| format!("upstreams.{name}.{error}"))?;
        let stream_usage = upstream
            .stream_usage
            .unwrap_or(match provider.stream_usage_default {
                provider::StreamUsage::Ask if provider::find(name).is_some() => StreamUsage::Ask,
                _ => StreamUsage::Untouched,
            });
        let at = |index, origin| Upstream {
            index,
            name: name.to_owned(),
            provider,
            origin,
            elsewhere: Vec::new(),
            credential: upstream.credential.clone(),
            stream_usage,
            has_shared_state: upstream.shared_state,
            forwards_escape_routes: upstream.escape_routes == config::EscapeRoutes::Forward,
            region: upstream.region.clone(),
        };
        let mut built = at(index, origin);
        if upstream.base_url.is_none() {
            for base_url in provider.other_hosts() {
                let origin = Origin::parse(base_url, upstream.ca_file.as_ref())
                    .map_err(|error| format!("upstreams.{name}.{error}"))?;
                let other = at(built.slots(), origin);
                built.elsewhere.push((base_url, Arc::new(other)));
            }
        }
        index = built.slots();
        upstreams.insert(name.to_owned(), Arc::new(built));
    }
    Ok(upstreams)
}

/// Each upstream's twin for test keys: the same dialect at the simulated upstream.
pub(crate) fn test_twins(config: &Config, upstreams: &Upstreams) -> Result<Upstreams, String> {
    let Some(base_url) = &config.proxy.test_upstream else {
        return Ok(Upstreams::default());
    };
    let origin =
        Origin::parse(base_url, None).map_err(|error| format!("proxy.test_upstream: {error}"))?;
    let slots = slots_of(upstreams);
    let twin = |(name, upstream): (&String, &Arc<Upstream>)| {
        let twin = Upstream {
            index: upstream.index + slots,
            name: name.clone(),
            provider: upstream.provider,
            origin: origin.clone(),
            elsewhere: Vec::new(),
            credential: Some(Secret::new(TEST_CREDENTIAL.to_owned())),
            stream_usage: upstream.stream_usage,
            has_shared_state: upstream.has_shared_state,
            forwards_escape_routes: upstream.forwards_escape_routes,
            region: None,
        };
        (name.clone(), Arc::new(twin))
    };
    Ok(upstreams.iter().map(twin).collect())
}

/// The same upstreams, their references counted apart.
pub(crate) fn apart(upstreams: &Upstreams) -> Upstreams {
    let apart = |(name, upstream): (&String, &Arc<Upstream>)| (name.clone(), upstream.apart());
    upstreams.iter().map(apart).collect()
}

/// Places in the pools that upstreams take.
pub(crate) fn slots_of(upstreams: &Upstreams) -> usize {
    let slots = upstreams.values().map(|upstream| upstream.slots());
    slots.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
