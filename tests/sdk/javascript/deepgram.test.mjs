// Deepgram's JavaScript SDK, unmodified: REST, and its sockets over TLS as it insists.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeepgramClient, DeepgramError } from '@deepgram/sdk';
import { caller, expect, row, url, wrong } from './stand.mjs';

const LINK = { url: 'https://example.com/a.wav', model: 'nova-3', smart_format: true };
const SECOND = Buffer.alloc(32_000);

function client({ key }, scheme = 'https') {
  const socket = url('deepgram', '', scheme === 'https' ? 'wss' : 'ws');
  const base = url('deepgram', '', scheme);
  return new DeepgramClient({ apiKey: key, environment: { base, production: socket, agent: socket, agentRest: base } });
}

for (const scheme of ['http', 'https']) {
  test(`a link over ${scheme}`, async () => {
    const us = await caller();
    const answer = await client(us, scheme).listen.v1.media.transcribeUrl(LINK);
    assert.equal(answer.results.channels[0].alternatives[0].transcript, 'hi');
    assert.equal((await expect(us, 'deepgram/plain')).endpoint, 'listen');
  });
}

test('speak', async () => {
  const us = await caller();
  const answer = await client(us).speak.v1.audio.generate({ text: 'Hello', model: 'aura-2-thalia-en', encoding: 'mp3' });
  assert.ok((await answer.arrayBuffer()).byteLength > 0);
  assert.equal((await expect(us, 'deepgram/speak_plain')).endpoint, 'speak');
});

test('live', async () => {
  const us = await caller();
  const socket = await client(us).listen.v1.connect({ model: 'nova-3', encoding: 'linear16', sample_rate: 16000 });
  const heard = [];
  const closed = new Promise((resolve, reject) => {
    socket.on('message', (message) => heard.push(message.type));
    socket.on('error', reject);
    socket.on('close', resolve);
  });
  socket.connect();
  await socket.waitForOpen();
  for (let second = 0; second < 3; second += 1) socket.sendMedia(SECOND);
  socket.sendCloseStream({ type: 'CloseStream' });
  await closed;
  socket.close();
  assert.deepEqual(heard, ['Results', 'Results', 'Results', 'Metadata']);
  const { transport, usage_source, usage } = await row(us);
  assert.deepEqual([transport, usage_source, usage.audio_seconds], ['websocket', 'reported', '3']);
});

test('live by turns', async () => {
  const us = await caller();
  const socket = await client(us).listen.v2.connect({ model: 'flux-general-en', encoding: 'linear16', sample_rate: 16000 });
  const heard = [];
  const closed = new Promise((resolve, reject) => {
    socket.on('message', (message) => heard.push(message.type));
    socket.on('error', reject);
    socket.on('close', resolve);
  });
  socket.connect();
  await socket.waitForOpen();
  for (let second = 0; second < 2; second += 1) socket.sendMedia(SECOND);
  socket.sendCloseStream({ type: 'CloseStream' });
  await closed;
  socket.close();
  assert.deepEqual(heard, ['Connected', 'TurnInfo', 'TurnInfo']);
  const { model, usage_source, usage } = await row(us);
  assert.deepEqual([model, usage_source, usage], ['flux-general-en', 'measured', { audio_seconds: '2' }]);
});

test('an agent', async () => {
  const us = await caller();
  const socket = await client(us).agent.v1.connect();
  const spoken = new Promise((resolve, reject) => {
    socket.on('message', ({ type }) => type === 'AgentAudioDone' && resolve());
    socket.on('error', reject);
  });
  socket.connect();
  await socket.waitForOpen();
  const provider = (type, model) => ({ provider: { type, model } });
  socket.sendSettings({
    type: 'Settings',
    audio: { input: { encoding: 'linear16', sample_rate: 16000 } },
    agent: { listen: provider('deepgram', 'nova-3'), think: provider('open_ai', 'gpt-4o-mini'), speak: provider('deepgram', 'aura-2-thalia-en') },
  });
  socket.sendMedia(SECOND);
  await spoken;
  socket.close();
  const { endpoint, model, usage_source, lines, usage } = await row(us);
  assert.deepEqual([endpoint, model, usage_source, lines[0].conditions], ['agent', 'agent/converse', 'measured', { mode: 'standard' }]);
  assert.deepEqual(Object.keys(usage), ['session_seconds']);
});

test('read', async () => {
  const us = await caller();
  const answer = await client(us).read.v1.text.analyze({ language: 'en', summarize: true, sentiment: true, body: { text: 'x' } });
  assert.equal(answer.metadata.summary_info.input_tokens, 95);
  await expect(us, 'deepgram/other_plain');
});

test('a wrong key raises DeepgramError 401', async () => {
  await assert.rejects(client(await wrong()).listen.v1.media.transcribeUrl(LINK), (error) => error instanceof DeepgramError && error.statusCode === 401);
});

test('a rate limit raises DeepgramError 429', async () => {
  const us = await caller({ calls_an_hour: 1 });
  await client(us).listen.v1.media.transcribeUrl(LINK);
  await assert.rejects(
    client(us).listen.v1.media.transcribeUrl(LINK, { maxRetries: 0 }),
    (error) => error instanceof DeepgramError && error.statusCode === 429,
  );
  await expect(us, 'deepgram/plain');
});
