// Anthropic's JavaScript SDK, unmodified.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { caller, expect, url, wrong } from './stand.mjs';

const REQUEST = { model: 'claude-opus-5-5', max_tokens: 1024, messages: [{ role: 'user', content: 'Say hello.' }] };
const TOOL = { name: 'weather', input_schema: { type: 'object', properties: { town: { type: 'string' } } } };
const client = ({ key }, scheme = 'http', options = {}) => new Anthropic({ baseURL: url('anthropic', '', scheme), apiKey: key, ...options });

for (const scheme of ['http', 'https']) {
  test(`a message over ${scheme}`, async () => {
    const us = await caller();
    const answer = await client(us, scheme).messages.create(REQUEST);
    assert.equal(answer.content[0].text, 'Hello.');
    assert.equal((await expect(us, 'anthropic/plain')).response_id, answer.id);
  });
}

test('a stream', async () => {
  const us = await caller();
  assert.equal(await client(us).messages.stream(REQUEST).finalText(), 'Hello');
  await expect(us, 'anthropic/stream');
});

test('tools', async () => {
  const us = await caller();
  const answer = await client(us).messages.create({ ...REQUEST, tools: [TOOL] });
  assert.deepEqual(answer.content[0].input, { town: 'Graz' });
  await expect(us, 'anthropic/tools');
});

test('a stream of tools', async () => {
  const us = await caller();
  const answer = await client(us).messages.stream({ ...REQUEST, tools: [TOOL] }).finalMessage();
  assert.deepEqual(answer.content[0].input, { town: 'Graz' });
  await expect(us, 'anthropic/tools_stream');
});

test('a wrong key raises AuthenticationError', async () => {
  await assert.rejects(client(await wrong()).messages.create(REQUEST), Anthropic.AuthenticationError);
});

test('a rate limit raises RateLimitError', async () => {
  const us = await caller({ calls_an_hour: 1 });
  const once = client(us, 'http', { maxRetries: 0 });
  await once.messages.create(REQUEST);
  await assert.rejects(once.messages.create(REQUEST), Anthropic.RateLimitError);
  await expect(us, 'anthropic/plain');
});
