'use strict';

const { createServer } = require('node:https');
const { readFileSync } = require('node:fs');
const { WebSocketServer } = require('ws');

const [, , kind = 'echo', certificate] = process.argv;

function echo(ws) {
  ws.on('error', () => {});
  ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
}

function broadcast(ws) {
  ws.on('error', () => {});
  ws.on('message', (data, isBinary) => {
    for (const client of server.clients) client.send(data, { binary: isBinary });
  });
}

const options = { perMessageDeflate: kind === 'deflate' };
if (kind === 'tls') {
  const pem = readFileSync(certificate);
  options.server = createServer({ cert: pem, key: pem });
  options.server.listen(0, '127.0.0.1', 1024);
} else {
  Object.assign(options, { host: '127.0.0.1', port: 0, backlog: 1024 });
}
const server = new WebSocketServer(options);
server.on('connection', kind === 'broadcast' ? broadcast : echo);
server.on('listening', () => console.log(server.address().port));
