// Vercel's AI SDK with its OpenAI and Anthropic providers, unmodified.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { APICallError, embedMany, experimental_generateSpeech, experimental_transcribe, generateText, jsonSchema, streamText, tool } from 'ai';
import { caller, expect, url, wrong } from './stand.mjs';

const prompt = 'Say hello.';
const tools = { weather: tool({ description: 'The weather of a town.', inputSchema: jsonSchema({ type: 'object', properties: { town: { type: 'string' } } }) }) };
const openai = ({ key }, scheme = 'http') => createOpenAI({ baseURL: url('openai', '/v1', scheme), apiKey: key });
const anthropic = ({ key }, scheme = 'http') => createAnthropic({ baseURL: url('anthropic', '/v1', scheme), apiKey: key });
const MODELS = [
  ['openai', (us, scheme) => openai(us, scheme).chat('gpt-6-sol')],
  ['anthropic', (us, scheme) => anthropic(us, scheme)('claude-opus-5-5')],
];

for (const [name, model] of MODELS) {
  for (const scheme of ['http', 'https']) {
    test(`${name}: text over ${scheme}`, async () => {
      const us = await caller();
      assert.equal((await generateText({ model: model(us, scheme), prompt })).text, 'Hello.');
      assert.equal((await expect(us, `${name}/plain`)).provider, name);
    });
  }

  test(`${name}: a stream`, async () => {
    const us = await caller();
    assert.ok(await streamText({ model: model(us), prompt }).text);
    await expect(us, `${name}/stream`);
  });

  test(`${name}: tools`, async () => {
    const us = await caller();
    const { toolCalls } = await generateText({ model: model(us), prompt, tools });
    assert.deepEqual(toolCalls.map(({ toolName, input }) => [toolName, input]), [['weather', { town: 'Graz' }]]);
    await expect(us, `${name}/tools`);
  });

  test(`${name}: a wrong key is 401`, async () => {
    await assert.rejects(generateText({ model: model(await wrong()), prompt }), (error) => APICallError.isInstance(error) && error.statusCode === 401);
  });

  test(`${name}: a rate limit is 429 that may be retried`, async () => {
    const us = await caller({ calls_an_hour: 1 });
    await generateText({ model: model(us), prompt });
    await assert.rejects(
      generateText({ model: model(us), prompt, maxRetries: 0 }),
      (error) => APICallError.isInstance(error) && error.statusCode === 429 && error.isRetryable,
    );
    await expect(us, `${name}/plain`);
  });
}

test('openai: embeddings', async () => {
  const us = await caller();
  const { embeddings } = await embedMany({ model: openai(us).embedding('text-embedding-3-small'), values: ['Hello.', 'World.'] });
  assert.equal(embeddings.length, 2);
  await expect(us, 'openai/embeddings_plain');
});

test('openai: speech', async () => {
  const us = await caller();
  const { audio } = await experimental_generateSpeech({ model: openai(us).speech('tts-1'), text: 'Grüße 👋', voice: 'alloy' });
  assert.ok(audio.uint8Array.byteLength > 0);
  await expect(us, 'openai/speech_plain');
});

test('openai: transcription', async () => {
  const us = await caller();
  const { text } = await experimental_transcribe({ model: openai(us).transcription('gpt-4o-transcribe'), audio: Buffer.from('RIFF----WAVEfmt ') });
  assert.equal(text, 'hi');
  await expect(us, 'openai/transcription_plain');
});

test('openai: responses, its default', async () => {
  const us = await caller();
  await generateText({ model: openai(us)('gpt-6-sol'), prompt });
  await expect(us, 'openai/responses_plain');
});
