// Google's JavaScript SDK (@google/genai), unmodified.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, GoogleGenAI, Modality } from '@google/genai';
import { caller, expect, session, url, wrong } from './stand.mjs';

const REQUEST = { model: 'gemini-3.8-flash', contents: 'Say hi.' };
const TOOLS = [{ functionDeclarations: [{ name: 'weather', parametersJsonSchema: { type: 'object', properties: { town: { type: 'string' } } } }] }];
const client = ({ key }, scheme = 'http') => new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url('gemini', '', scheme) } });

for (const scheme of ['http', 'https']) {
  test(`generated over ${scheme}`, async () => {
    const us = await caller();
    assert.equal((await client(us, scheme).models.generateContent(REQUEST)).text, 'Hi');
    assert.equal((await expect(us, 'gemini/plain')).endpoint, 'generate_content');
  });
}

test('a stream', async () => {
  const us = await caller();
  let text = '';
  for await (const chunk of await client(us).models.generateContentStream(REQUEST)) text += chunk.text ?? '';
  assert.ok(text);
  await expect(us, 'gemini/stream');
});

test('tools', async () => {
  const us = await caller();
  const answer = await client(us).models.generateContent({ ...REQUEST, config: { tools: TOOLS } });
  assert.deepEqual(answer.functionCalls.map(({ name, args }) => [name, args]), [['weather', { town: 'Graz' }]]);
  await expect(us, 'gemini/tools');
});

test('embeddings', async () => {
  const us = await caller();
  const { embeddings } = await client(us).models.embedContent({ model: 'gemini-embedding-2', contents: 'Say hello to the world.' });
  assert.ok(embeddings[0].values.length);
  await expect(us, 'gemini/embeddings_several');
});

test('speech', async () => {
  const us = await caller();
  const answer = await client(us).models.generateContent({ model: 'gemini-3.1-flash-tts-preview', contents: 'Say hello.', config: { responseModalities: [Modality.AUDIO] } });
  assert.ok(answer.candidates[0].content.parts[0].inlineData.data);
  await expect(us, 'gemini/speech_out');
});

test('audio', async () => {
  const us = await caller();
  const sound = { inlineData: { mimeType: 'audio/wav', data: 'UklGRg==' } };
  const answer = await client(us).models.generateContent({ model: 'gemini-3.8-pro', contents: ['What is said?', sound] });
  assert.equal(answer.text, 'hi');
  await expect(us, 'gemini/speech_in');
});

for (const scheme of ['http', 'https']) {
  test(`a live session over ${scheme}`, async () => {
    const us = await caller();
    let hear;
    const heard = new Promise((resolve) => (hear = resolve));
    const closed = Promise.withResolvers ? Promise.withResolvers() : {};
    closed.promise ??= new Promise((resolve) => (closed.resolve = resolve));
    const talk = await client(us, scheme).live.connect({
      model: 'gemini-live',
      config: { responseModalities: [Modality.TEXT] },
      callbacks: { onmessage: (message) => message.usageMetadata && hear(message.usageMetadata), onclose: () => closed.resolve() },
    });
    talk.sendClientContent({ turns: 'Say hi.', turnComplete: true });
    assert.equal((await heard).totalTokenCount, 20);
    talk.close();
    await closed.promise;
    assert.equal((await session(us)).filter(({ usage }) => usage.output_tokens).length, 1);
  });
}

test('a wrong key raises ApiError 401', async () => {
  await assert.rejects(client(await wrong()).models.generateContent(REQUEST), (error) => error instanceof ApiError && error.status === 401);
});

test('a rate limit raises ApiError 429', async () => {
  const us = await caller({ calls_an_hour: 1 });
  await client(us).models.generateContent(REQUEST);
  await assert.rejects(client(us).models.generateContent(REQUEST), (error) => error instanceof ApiError && error.status === 429);
  await expect(us, 'gemini/plain');
});
