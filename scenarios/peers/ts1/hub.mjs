// A hub as the examples of npm `@modelcontextprotocol/sdk` 1 write one: both transports with sessions, on one port.
//   HOST=127.0.0.1 PORT=8000 node hub.mjs
// With SESSIONS=none its Streamable HTTP has no sessions: the remedy for replicas that do not know each other's.

import { randomUUID } from 'node:crypto';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { addTools } from './tools.mjs';

const { HOST, PORT } = process.env;
const newServer = () => addTools(new McpServer({ name: 'peer', version: '1.0.0' }), {
  meta: (extra) => extra._meta,
  signal: (extra) => extra.signal,
  notify: (extra, notification) => extra.sendNotification(notification),
});
const sessions = new Map();
const app = createMcpExpressApp({ host: HOST });
app.get('/healthz', (_req, res) => res.send('ok'));

app.get('/sse', async (_req, res) => {
  const transport = new SSEServerTransport('/messages', res);
  sessions.set(transport.sessionId, transport);
  res.on('close', () => sessions.delete(transport.sessionId));
  await newServer().connect(transport);
});

app.post('/messages', async (req, res) => {
  const transport = sessions.get(req.query.sessionId);
  if (!(transport instanceof SSEServerTransport)) return res.status(404).send('Could not find session');
  await transport.handlePostMessage(req, res, req.body);
});

if (process.env.SESSIONS === 'none') {
  app.post('/mcp', async (req, res) => {
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    res.on('close', () => transport.close());
    await newServer().connect(transport);
    await transport.handleRequest(req, res, req.body);
  });
  app.all('/mcp', (_req, res) => res.status(405).set('Allow', 'POST').end());
}

app.all('/mcp', async (req, res) => {
  const id = req.headers['mcp-session-id'];
  let transport = sessions.get(id);
  if (!id && req.body?.method === 'initialize') {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    transport.onclose = () => sessions.delete(transport.sessionId);
    await newServer().connect(transport);
  } else if (!transport) {
    const [status, code, message] = id ? [404, -32001, 'Session not found'] : [400, -32000, 'No session id'];
    return res.status(status).json({ jsonrpc: '2.0', error: { code, message }, id: null });
  }
  await transport.handleRequest(req, res, req.body);
});

app.listen(Number(PORT), HOST);
