// Drives an emulator with the unmodified @google/genai SDK and prints what it saw as JSON.
// node conformance.mjs BASE_URL [API_KEY]; NODE_EXTRA_CA_CERTS names the emulator's authority.
import { GoogleGenAI, Modality } from "@google/genai";

const [baseUrl, apiKey = "KEY"] = process.argv.slice(2);
const RATE = 16000;

class Inbox {
  #messages = [];
  #waiting = null;
  #end = null;
  closed = new Promise((resolve) => (this.#end = resolve));

  end(closed) {
    this.put({ closed });
    this.#end();
  }

  put(message) {
    this.#messages.push(message);
    this.#waiting?.();
  }

  async until(wanted) {
    const seen = [];
    for (;;) {
      while (this.#messages.length) {
        const message = this.#messages.shift();
        seen.push(message);
        if (wanted(message)) return seen;
      }
      await new Promise((resolve) => (this.#waiting = resolve));
    }
  }
}

async function connect(key, config = {}, model = "gemini-3.8-live", apiVersion = "v1beta") {
  const inbox = new Inbox();
  const ai = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl, apiVersion } });
  const connecting = ai.live.connect({
    model,
    config: { responseModalities: [Modality.AUDIO], outputAudioTranscription: {}, inputAudioTranscription: {}, ...config },
    callbacks: {
      onmessage: (message) => inbox.put(message),
      onclose: (event) => inbox.end([event.code, event.reason]),
      onerror: (event) => inbox.put({ error: String(event.message) }),
    },
  });
  // The SDK's connect waits for setupComplete and for ever when the server closes instead.
  const session = await Promise.race([connecting, inbox.closed]);
  return { session, inbox };
}

function pcm(seconds, amplitude) {
  const samples = new Int16Array(seconds * RATE);
  for (let i = 0; i < samples.length; i++) samples[i] = amplitude * Math.sin((2 * Math.PI * 300 * i) / RATE);
  return Buffer.from(samples.buffer).toString("base64");
}

const turnOver = (message) => message.serverContent?.turnComplete || message.closed;
const words = (seen) => seen.map((m) => m.serverContent?.outputTranscription?.text ?? "").join("");
const bytes = (seen) =>
  seen
    .flatMap((m) => m.serverContent?.modelTurn?.parts ?? [])
    .reduce((sum, part) => sum + Buffer.from(part.inlineData?.data ?? "", "base64").length, 0);

const result = {};

{
  const { session, inbox } = await connect(apiKey, { sessionResumption: {} });
  await inbox.until((m) => m.setupComplete);
  session.sendRealtimeInput({ text: "Greet the caller." });
  const greeting = await inbox.until(turnOver);
  result.greeting = words(greeting);
  session.sendRealtimeInput({ audio: { data: pcm(1.0, 9000), mimeType: `audio/pcm;rate=${RATE}` } });
  session.sendRealtimeInput({ audio: { data: pcm(0.8, 0), mimeType: `audio/pcm;rate=${RATE}` } });
  const echo = await inbox.until(turnOver);
  result.echo = words(echo);
  result.echoBytes = bytes(echo);
  result.understood = echo.map((m) => m.serverContent?.inputTranscription?.text ?? "").join("");
  result.tokens = echo.at(-1).usageMetadata.responseTokenCount;
  session.sendClientContent({ turns: [{ role: "user", parts: [{ text: "typed" }] }], turnComplete: true });
  result.typed = words(await inbox.until(turnOver));
  const [update] = await inbox.until((m) => m.sessionResumptionUpdate?.newHandle);
  session.close();
  await inbox.until((m) => m.closed);
  const again = await connect(apiKey, { sessionResumption: { handle: update.sessionResumptionUpdate.newHandle } });
  again.session.sendRealtimeInput({ text: "back again" });
  result.resumed = words(await again.inbox.until(turnOver));
  again.session.close();
}

{
  const tools = [{ functionDeclarations: [{ name: "add", behavior: "BLOCKING" }] }];
  const { session, inbox } = await connect(apiKey, { tools });
  session.sendRealtimeInput({ text: '/call add {"a": 1}' });
  const seen = await inbox.until((m) => m.toolCall);
  const [call] = seen.at(-1).toolCall.functionCalls;
  result.call = call.args;
  session.sendToolResponse({ functionResponses: [{ id: call.id, name: "add", response: { output: 2 } }] });
  result.told = words(await inbox.until(turnOver));
  session.close();
}

{
  const { inbox } = await connect(`${apiKey}~quota_mid=0`);
  result.quota = (await inbox.until((m) => m.closed)).at(-1).closed;
}

{
  const { inbox } = await connect(apiKey, { thinkingConfig: { thinkingBudget: 0 } });
  result.refused = (await inbox.until((m) => m.closed)).at(-1).closed;
}

{
  const ai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl, apiVersion: "v1alpha" } });
  const token = await ai.authTokens.create({ config: { uses: 1 } });
  const { session, inbox } = await connect(token.name, {}, "gemini-3.8-live", "v1alpha");
  session.sendRealtimeInput({ text: "hello" });
  result.byToken = bytes(await inbox.until(turnOver)) > 0;
  session.close();
}

console.log(JSON.stringify(result));
process.exit(0);
