// Sessions of the JavaScript SDK 1: `sdk.mjs sse|streamable URL SESSIONS`, run in the folder of its packages.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const sdk = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${path}.js`)));
const { Client } = await sdk("index");
const { SSEClientTransport } = await sdk("sse");
const { StreamableHTTPClientTransport } = await sdk("streamableHttp");

const [transport, url, sessions] = process.argv.slice(2);
const open = { sse: SSEClientTransport, streamable: StreamableHTTPClientTransport }[transport];
const options = { timeout: 1000 * Number(process.env.ANSWER_LIMIT) };
const atOnce = 4;

async function talk(number) {
  const client = new Client({ name: "hubcheck-clients", version: "1" });
  try {
    await client.connect(new open(new URL(url)), options);
    const { tools } = await client.listTools(undefined, options);
    if (!tools.some((tool) => tool.name === "echo")) throw new Error("tools/list has no echo");
    for (let call = 0; call < 3; call++) {
      const text = `session ${number}, call ${call}`;
      const result = await client.callTool({ name: "echo", arguments: { text } }, undefined, options);
      if (result.content[0].text !== text) throw new Error(`echo answered ${result.content[0].text}`);
    }
  } finally {
    await client.close();
  }
}

const failures = new Map();
let next = 0;
async function turn() {
  while (next < sessions) {
    try {
      await talk(next++);
    } catch (error) {
      const reason = String(error.message ?? error).split("\n")[0].replace(/session[_]?[iI]d=[\w-]+/g, "session_id=..");
      failures.set(reason, (failures.get(reason) ?? 0) + 1);
    }
  }
}
await Promise.all(Array.from({ length: atOnce }, turn));
const lost = [...failures.values()].reduce((sum, count) => sum + count, 0);
const most = [...failures].sort((one, other) => other[1] - one[1]).slice(0, 3);
console.log(JSON.stringify({ held: sessions - lost, of: Number(sessions), failures: most }));
