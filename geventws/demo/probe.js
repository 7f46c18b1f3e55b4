// Measures round trips through the echo socket; in a worker, where neither drawing nor a burst delays the answers.
import { LastingSocket } from "/socket.js";

const EVERY = 100; // milliseconds

onmessage = ({ data: url }) => {
  const echo = new LastingSocket(url, {
    received: (sentAt) => postMessage(performance.now() - Number(sentAt)),
  });
  setInterval(() => echo.send(String(performance.now())), EVERY);
};
