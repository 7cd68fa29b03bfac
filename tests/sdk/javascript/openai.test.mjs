// OpenAI's JavaScript SDK, unmodified: only its base URL and key are Farebox's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { WebSocket } from 'ws';
import { caller, expect, session, url, wrong } from './stand.mjs';

const CHAT = { model: 'gpt-6-sol', messages: [{ role: 'user', content: 'Say hello.' }] };
const TOOL = { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: { town: { type: 'string' } } } } };
const client = ({ key }, scheme = 'http', options = {}) => new OpenAI({ baseURL: url('openai', '/v1', scheme), apiKey: key, ...options });

for (const scheme of ['http', 'https']) {
  test(`chat over ${scheme}`, async () => {
    const us = await caller();
    const answer = await client(us, scheme).chat.completions.create(CHAT);
    assert.equal(answer.choices[0].message.content, 'Hello.');
    assert.equal((await expect(us, 'openai/plain')).endpoint, 'chat');
  });
}

test('a stream without usage is metered and unchanged', async () => {
  const us = await caller();
  let text = '';
  for await (const chunk of await client(us).chat.completions.create({ ...CHAT, stream: true })) {
    assert.ok(!chunk.usage && chunk.choices.length === 1);
    text += chunk.choices[0].delta.content ?? '';
  }
  assert.equal(text, 'Hi');
  assert.equal((await expect(us, 'openai/stream')).request_amended, true);
});

test('tools', async () => {
  const us = await caller();
  const answer = await client(us).chat.completions.create({ ...CHAT, tools: [TOOL] });
  assert.equal(answer.choices[0].message.tool_calls[0].function.name, 'weather');
  await expect(us, 'openai/tools');
});

test('a stream of tools', async () => {
  const us = await caller();
  const stream = client(us).chat.completions.stream({ ...CHAT, tools: [TOOL] });
  const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
  assert.deepEqual([call.function.name, call.function.arguments], ['weather', '{"town":"Graz"}']);
  await expect(us, 'openai/tools_stream');
});

test('embeddings', async () => {
  const us = await caller();
  const request = { model: 'text-embedding-3-small', input: ['Hello.', 'World.'], encoding_format: 'float' };
  assert.equal((await client(us).embeddings.create(request)).data.length, 2);
  await expect(us, 'openai/embeddings_plain');
});

test('speech', async () => {
  const us = await caller();
  const answer = await client(us).audio.speech.create({ model: 'tts-1', input: 'Grüße 👋', voice: 'alloy' });
  assert.ok((await answer.arrayBuffer()).byteLength > 0);
  await expect(us, 'openai/speech_plain');
});

test('transcription', async () => {
  const us = await caller();
  const file = await toFile(Buffer.from('RIFF'), 'a.wav');
  assert.equal((await client(us).audio.transcriptions.create({ model: 'gpt-4o-transcribe', file })).text, 'hi');
  await expect(us, 'openai/transcription_plain');
});

test('realtime over wss', async () => {
  const us = await caller();
  const socket = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client(us, 'https'));
  const done = new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('response.done', resolve);
  });
  socket.socket.on('open', () => socket.send({ type: 'response.create' }));
  assert.equal((await done).response.usage.total_tokens, 30);
  const closed = new Promise((resolve) => socket.socket.on('close', resolve));
  socket.close();
  await closed;
  assert.equal((await session(us)).filter(({ usage }) => usage.output_tokens).length, 1);
});

test('realtime as a browser opens it, with the key in a subprotocol', async () => {
  // Node 20 has no WebSocket of its own.
  globalThis.WebSocket ??= WebSocket;
  const us = await caller();
  const socket = new OpenAIRealtimeWebSocket({ model: 'gpt-realtime', dangerouslyAllowBrowser: true }, client(us, 'https'));
  const done = new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('response.done', resolve);
  });
  socket.socket.addEventListener('open', () => socket.send({ type: 'response.create' }));
  assert.equal((await done).response.id, 'resp_1');
  assert.equal(socket.socket.protocol, 'realtime');
  const closed = new Promise((resolve) => socket.socket.addEventListener('close', resolve));
  socket.close();
  await closed;
  assert.equal((await session(us)).filter(({ usage }) => usage.output_tokens).length, 1);
});

test('a wrong key raises AuthenticationError', async () => {
  await assert.rejects(client(await wrong()).chat.completions.create(CHAT), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError, error);
    assert.equal(error.code, 'invalid_key');
    return true;
  });
});

test('a rate limit raises RateLimitError', async () => {
  const us = await caller({ calls_an_hour: 1 });
  const once = client(us, 'http', { maxRetries: 0 });
  await once.chat.completions.create(CHAT);
  await assert.rejects(once.chat.completions.create(CHAT), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError, error);
    assert.equal(error.code, 'rate_limited');
    return true;
  });
  await expect(us, 'openai/plain');
});
