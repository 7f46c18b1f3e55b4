// Runs in a worker, so that drawing and the latency probe of the page go on undisturbed while the echo socket is
// driven as hard as one browser thread can.
const IN_FLIGHT = 256;
const SECONDS = 3;
const REPORT_EVERY = 100; // milliseconds

onmessage = ({ data: url }) => {
  const message = "x".repeat(32);
  const socket = new WebSocket(url);
  let sent = 0, received = 0, reported = 0, started = 0, reporter = 0;

  const report = () => {
    postMessage({ received: received - reported });
    reported = received;
  };
  const send = () => {
    sent += 1;
    socket.send(message);
  };

  socket.onopen = () => {
    started = performance.now();
    reporter = setInterval(report, REPORT_EVERY);
    for (let i = 0; i < IN_FLIGHT; i += 1) send();
  };
  socket.onmessage = () => {
    received += 1;
    if (performance.now() - started < SECONDS * 1000) send();
    else if (received === sent) socket.close(1000);
  };
  socket.onclose = ({ wasClean }) => {
    clearInterval(reporter);
    report();
    postMessage({ done: wasClean, total: received, seconds: (performance.now() - started) / 1000 });
    close();
  };
};
