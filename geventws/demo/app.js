import { Chart, linear, logarithmic } from "/chart.js";
import { LastingSocket } from "/socket.js";

const RATE_EVERY = 250; // milliseconds that one point of the rate chart covers
const DRAW_EVERY = 40; // milliseconds
const find = (id) => document.getElementById(id);
const address = (path) => `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const milliseconds = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(value < 100 ? 1 : 0));

// ---- messages per second: everything that reaches this page, whatever brought it ----

let arrived = 0;
let countedAt = performance.now();
const rateChart = new Chart(find("rate"), {
  color: "--rate", scale: linear, least: 10, format: (value) => `${short.format(value)} per second`,
});

setInterval(() => {
  const now = performance.now();
  const rate = (arrived * 1000) / (now - countedAt);
  arrived = 0;
  countedAt = now;
  rateChart.add(rate, now);
  const lastSecond = rateChart.samples.slice(-1000 / RATE_EVERY).map(([, value]) => value);
  find("rate-now").textContent = whole.format(lastSecond.reduce((sum, value) => sum + value) / lastSecond.length);
}, RATE_EVERY);

find("burst").addEventListener("click", ({ target }) => {
  const worker = new Worker("/burst.js");
  target.disabled = true;
  find("burst-note").textContent = "running …";
  worker.onmessage = ({ data }) => {
    if (data.received !== undefined) {
      arrived += data.received;
      return;
    }
    target.disabled = false;
    find("burst-note").textContent = data.done
      ? `${whole.format(data.total)} messages there and back, ${whole.format(data.total / data.seconds)} per second`
      : "the connection was lost";
  };
  worker.postMessage(address("/echo"));
});

// ---- latency: the time a message takes through the echo socket and back ----

const latencyChart = new Chart(find("latency"), {
  color: "--latency", scale: logarithmic(0.1), least: 5, format: (value) => `${milliseconds(value)} ms`,
});
const probe = new Worker("/probe.js", { type: "module" });
probe.onmessage = ({ data: latency }) => {
  arrived += 1;
  latencyChart.add(latency);
};
probe.postMessage(address("/echo"));

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

setInterval(() => {
  const values = latencyChart.samples.map(([, value]) => value);
  if (values.length === 0) return;
  find("latency-now").textContent = milliseconds(median(values.slice(-10)));
  find("latency-note").textContent =
    `last minute: median ${milliseconds(median(values))} ms, slowest ${milliseconds(Math.max(...values))} ms`;
}, 500);

// ---- chat ----

const COLORS = ["Amber", "Coral", "Crimson", "Indigo", "Jade", "Olive", "Plum", "Silver", "Teal", "Violet"];
const BIRDS = ["Crane", "Dove", "Finch", "Heron", "Kite", "Lark", "Owl", "Robin", "Swift", "Wren"];
const pick = (words) => words[Math.floor(Math.random() * words.length)];
const log = find("log");

const newName = () => `${pick(COLORS)} ${pick(BIRDS)}`;

function rename(name) {
  find("name").value = name;
  sessionStorage.setItem("name", name); // each tab has its own, which outlasts a reload
}
rename(sessionStorage.getItem("name") ?? newName());

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function show(item) {
  const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(item);
  while (log.children.length > 500) log.firstChild.remove();
  if (follow) log.scrollTop = log.scrollHeight;
}

function showEvent(text) {
  show(element("li", text, "event"));
}

function showSaid({ name, text, time }) {
  const item = element("li", "", "said");
  const face = element("i", name.split(" ").map((word) => word.slice(0, 1)).join("").slice(0, 2), "face");
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  face.style.background = `hsl(${hue} 55% 42%)`;
  face.setAttribute("aria-hidden", "true");
  const head = element("div", "");
  head.append(element("b", name), element("time", new Date(time * 1000).toLocaleTimeString([], { timeStyle: "short" })));
  item.append(face, head, element("span", text));
  show(item);
}

const EVENTS = {
  history: ({ said }) => {
    log.replaceChildren();
    said.forEach(showSaid);
  },
  said: showSaid,
  joined: ({ name }) => showEvent(`${name} joined`),
  left: ({ name }) => showEvent(`${name} left`),
  renamed: ({ old, name }) => showEvent(`${old} is now ${name}`),
};

function showStatus(state, text) {
  find("status").dataset.state = state;
  find("status").textContent = text;
}

const chat = new LastingSocket(address("/chat"), {
  opened() {
    showStatus("open", "connected");
    chat.send(JSON.stringify({ name: find("name").value }));
  },
  received(data) {
    const event = JSON.parse(data);
    arrived += 1;
    if (event.count !== undefined) {
      find("count").textContent = event.count;
      find("count-noun").textContent = event.count === 1 ? "tab" : "tabs";
    }
    EVENTS[event.event](event);
  },
  closed({ code, reason }) {
    showStatus("closed", code === 1001 ? "the server has stopped" : `disconnected (${code}${reason ? ` ${reason}` : ""})`);
  },
});

find("name").addEventListener("change", ({ target }) => {
  rename(target.value.trim() || newName());
  chat.send(JSON.stringify({ name: target.value }));
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find("text").value.trim();
  if (text && chat.send(JSON.stringify({ text }))) find("text").value = "";
});

// ---- drawing ----

find("command").textContent = `geventws connect ${address("/echo")}`;

let drawnAt = 0;

function draw(now) {
  if (now - drawnAt >= DRAW_EVERY) {
    drawnAt = now;
    latencyChart.draw(now);
    rateChart.draw(now);
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
