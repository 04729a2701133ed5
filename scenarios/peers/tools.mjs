// The tools that hubcheck's deeper cells need, for both generations of the npm SDK.

import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';

const [tallies, held] = [new Map(), []];
const int = z.number().int();

/** Gives a server its tools; `meta`, `signal` and `notify` find a request's own in what a handler gets. */
export function addTools(server, { meta, signal, notify }) {
  const tool = (name, input, run) =>
    server.registerTool(name, { description: name, inputSchema: z.object(input) }, async (given, context) => {
      const progressToken = meta(context)?.progressToken;
      const progress = async (progress, total) => progressToken !== undefined
        && notify(context, { method: 'notifications/progress', params: { progressToken, progress, total } });
      return { content: [{ type: 'text', text: String(await run(given, progress, signal(context))) }] };
    });
  tool('whoami', {}, () => process.env.POD_NAME ?? 'unknown');
  tool('echo', { text: z.string() }, ({ text }) => text);
  tool('count', { n: int, interval_ms: int.default(0) }, async ({ n, interval_ms }, progress) => {
    for (let i = 1; i <= n; i++) {
      if (i > 1) await pause(interval_ms);
      await progress(i, n);
    }
    return n;
  });
  tool('work', { key: z.string(), n: int, interval_ms: int.default(0) }, async ({ key, n, interval_ms }, progress, stopped) => {
    for (let i = 1; i <= n; i++) {
      if (i > 1) await pause(interval_ms, undefined, { signal: stopped });
      tallies.set(key, (tallies.get(key) ?? 0) + 1);
      await progress(i, n);
    }
    return tallies.get(key) ?? 0;
  });
  tool('tally', { key: z.string(), add: int.default(1), hold_ms: int.default(0) }, async ({ key, add, hold_ms }, progress) => {
    const total = (tallies.get(key) ?? 0) + add;
    tallies.set(key, total);
    await progress(1, 1);
    await pause(hold_ms);
    return total;
  });
  tool('sleep', { ms: int }, async ({ ms }) => {
    await pause(ms);
    return `slept ${ms} ms`;
  });
  tool('allocate', { mib: int }, ({ mib }) => {
    held.push(Buffer.alloc(mib << 20, 1));
    return held.reduce((sum, one) => sum + (one.length >> 20), 0);
  });
  return server;
}
