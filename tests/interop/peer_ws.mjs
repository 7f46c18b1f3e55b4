// The library `ws`: `node peer_ws.mjs server|client|listener URL deflate|plain` (a server: `-`).
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { createRequire } from "node:module";

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)("ws");
const [role, target, compression] = process.argv.slice(2);
const perMessageDeflate = compression === "deflate" ? { threshold: 0 } : false;
const options = { perMessageDeflate, maxPayload: 2 ** 26 };

if (role === "server") {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options });
  server.on("connection", (ws) => ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary })));
  await once(server, "listening");
  console.log(server.address().port);
  process.stdin.resume().on("end", () => process.exit());
} else if (role === "listener") {
  // A connection for each window and kind of context; what each one receives until it is closed.
  const receive = async (serverMaxWindowBits, serverNoContextTakeover) => {
    const ws = new WebSocket(target, { perMessageDeflate: { serverMaxWindowBits, serverNoContextTakeover } });
    const received = [];
    ws.on("message", (data) => received.push(data.toString()));
    await once(ws, "close");
    return received;
  };
  const windows = [8, 9, 10, 11, 12, 13, 14, 15].flatMap((bits) => [[bits, false], [bits, true]]);
  console.log(JSON.stringify(await Promise.all(windows.map((window) => receive(...window)))));
} else {
  const ws = new WebSocket(target, options);
  await once(ws, "open");
  const received = [];
  for (const [kind, content] of JSON.parse(readFileSync(0, "utf8"))) {
    const answer = once(ws, "message");
    if (kind === "fragments") {
      content.forEach((part, index) => ws.send(part, { fin: index === content.length - 1 }));
    } else {
      ws.send(kind === "text" ? content : Buffer.from(content, "hex"));
    }
    const [data, isBinary] = await answer;
    received.push(isBinary ? ["binary", data.toString("hex")] : ["text", data.toString()]);
  }
  const pong = once(ws, "pong");
  ws.ping("?");
  await pong;
  const closed = once(ws, "close");
  ws.close(1000, "done");
  const [code] = await closed;
  console.log(JSON.stringify({ received, code, compressed: ws.extensions !== "" }));
}
