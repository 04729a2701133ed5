// A hub as the documentation of npm `@modelcontextprotocol/server` 2 writes one: no sessions at /mcp, where 2025-11-25 and
// 2026-07-28 are served alike; HTTP+SSE by the frozen `server-legacy`.
//   HOST=127.0.0.1 PORT=8000 node hub.mjs

import { createMcpExpressApp } from '@modelcontextprotocol/express';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { SSEServerTransport } from '@modelcontextprotocol/server-legacy/sse';
import { addTools } from './tools.mjs';

const { HOST, PORT } = process.env;
const newServer = () => addTools(new McpServer({ name: 'peer', version: '1.0.0' }), {
  meta: (context) => context.mcpReq._meta,
  signal: (context) => context.mcpReq.signal,
  notify: (context, notification) => context.mcpReq.notify(notification),
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
  if (!transport) return res.status(404).send('Could not find session');
  await transport.handlePostMessage(req, res, req.body);
});

const mcp = toNodeHandler(createMcpHandler(newServer));
app.all('/mcp', (req, res) => mcp(req, res, req.body));

app.listen(Number(PORT), HOST);
