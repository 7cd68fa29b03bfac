// The stand that `tests/sdk/test_javascript.py` has started: callers, and what the ledger says of them.

const control = process.env.FAREBOX_SDK_CONTROL;
const hosts = { https: process.env.FAREBOX_SDK_TLS, http: process.env.FAREBOX_SDK_PLAIN };

async function ask(path, query) {
  const answer = await fetch(`${control}${path}?${new URLSearchParams(query)}`);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** Base URL of an upstream; its scheme also chooses the listener. */
export function url(upstream, path = '', scheme = 'http') {
  const host = hosts[scheme === 'https' || scheme === 'wss' ? 'https' : 'http'];
  return `${scheme}://${host}/${upstream}${path}`;
}

/** A new tenant and its virtual key; `calls_an_hour` limits it. */
export const caller = (query = {}) => ask('/caller', query);

/** A well formed key of nobody. */
export const wrong = () => ask('/caller', { wrong: '1' });

/** The newest of exactly `count` rows of the tenant. */
export const row = ({ tenant }, count = 1) => ask('/expect', { tenant, count });

/** The same, which has to be what the fixture says its usage is. */
export const expect = ({ tenant }, fixture, count = 1) => ask('/expect', { tenant, case: fixture, count });

/** The rows of the tenant's socket, oldest first, once its last one is there. */
export const session = ({ tenant }) => ask('/session', { tenant });
