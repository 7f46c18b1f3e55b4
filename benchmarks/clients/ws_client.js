'use strict';

const { WebSocket } = require('ws');

const [, , port, task, size, seconds, connections] = process.argv;
const WARMUP = 0.5;
const BATCH = 50;
const PATH = { roundtrip: '/', receive: `/flood/binary/${size}`, send: '/sink' }[task];
const MESSAGE = Buffer.from({ length: Number(size) }, (_, i) => (i * 7) & 255);
const LAST = Buffer.from('last');

const now = () => performance.now() / 1000;
const starts = now() + WARMUP;
const ends = starts + Number(seconds);
let messages = 0;
let began;
let cpu;

// Adds messages; whether the measurement goes on.
function count(more) {
  const time = now();
  if (began !== undefined) messages += more;
  else if (time >= starts) {
    began = time;
    cpu = process.cpuUsage();
  }
  return time < ends;
}

function report() {
  const elapsed = now() - began;
  const { user, system } = process.cpuUsage(cpu);
  const figures = { rate: messages / elapsed, messages, seconds: elapsed, cpu: (user + system) / 1e6 / elapsed };
  console.log(JSON.stringify(figures));
  process.exit();
}

function roundTrips(ws) {
  let left = BATCH;
  ws.on('message', () => {
    if (!--left) {
      left = BATCH;
      if (!count(BATCH)) report();
    }
    ws.send(MESSAGE);
  });
  ws.send(MESSAGE);
}

function receive(ws) {
  let left = BATCH;
  ws.on('message', () => {
    if (!--left) {
      left = BATCH;
      if (!count(BATCH)) report();
    }
  });
}

// The last send's callback comes when the socket has taken the batch.
function send(ws) {
  ws.on('message', report);
  const batch = () => {
    if (!count(BATCH)) return ws.send(LAST);
    for (let i = 1; i < BATCH; i++) ws.send(MESSAGE);
    ws.send(MESSAGE, batch);
  };
  batch();
}

const run = { roundtrip: roundTrips, receive, send }[task];
for (let i = 0; i < Number(connections); i++) {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${PATH}`, { perMessageDeflate: false });
  ws.on('open', () => run(ws));
}
