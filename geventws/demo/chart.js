// A line chart of the last minute on a canvas: one series, the newest sample at the right edge, hover to read a value.
const SECONDS = 60;
const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 22; // pixels around the plot
const NEAR = 20; // how far from the pointer a sample may be that is read, in pixels
const axisLabel = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 2 });

// How values become heights: `end` is where the axis ends for a highest value, `part` how far up a value stands on an
// axis that ends there, `ticks` what is written beside it.
export const linear = {
  end(highest) {
    const power = 10 ** Math.floor(Math.log10(highest));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= highest);
  },
  part: (value, end) => value / end,
  ticks: (end) => [0, end / 2, end],
};

// One that shows small changes of small values beside rare large ones.
export const logarithmic = (begin) => ({
  end: (highest) => 10 ** Math.ceil(Math.log10(highest)),
  part: (value, end) => Math.max(0, Math.log(value / begin) / Math.log(end / begin)),
  ticks: (end) => Array.from({ length: Math.round(Math.log10(end / begin)) + 1 }, (_, i) => begin * 10 ** i),
});

export class Chart {
  constructor(canvas, { color, scale, least, format }) {
    this.canvas = canvas;
    this.color = color; // the name of a CSS variable
    this.scale = scale;
    this.least = least; // the axis is never shorter than this
    this.format = format;
    this.samples = []; // [time in ms, value]
    this.total = 0;
    this.top = least;
    this.pointer = null;
    canvas.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; });
    canvas.addEventListener("pointerleave", () => { this.pointer = null; });
  }

  add(value, now = performance.now()) {
    this.samples.push([now, value]);
    while (this.samples[0][0] < now - SECONDS * 1000 - 2000) this.samples.shift();
    this.total += 1;
    this.canvas.dataset.points = this.total;
  }

  draw(now) {
    const pen = this.canvas.getContext("2d");
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const dots = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * dots) || this.canvas.height !== Math.round(height * dots)) {
      this.canvas.width = Math.round(width * dots);
      this.canvas.height = Math.round(height * dots);
    }
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, width, height);

    const highest = this.samples.reduce((most, [, value]) => Math.max(most, value), this.least);
    const goal = this.scale.end(highest * 1.05);
    this.top += (goal - this.top) * 0.2; // the axis glides to its new length
    if (Math.abs(goal - this.top) < goal / 200) this.top = goal;
    const place = {
      x: (time) => width - RIGHT - ((now - time) / (SECONDS * 1000)) * (width - LEFT - RIGHT),
      y: (value) => height - BOTTOM - this.scale.part(value, this.top) * (height - TOP - BOTTOM),
      width, height,
    };
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(name);
    pen.font = `12px ${style.fontFamily}`;
    this.#drawAxes(pen, place, color, goal);
    this.#drawSeries(pen, place, color(this.color));
    if (this.pointer !== null) this.#drawReading(pen, place, color, now);
  }

  #drawAxes(pen, place, color, goal) {
    pen.strokeStyle = color("--grid");
    pen.fillStyle = color("--quiet");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const tick of this.scale.ticks(goal)) {
      const y = Math.round(place.y(tick)) + 0.5;
      if (y < 0) continue; // while the axis is still gliding
      pen.beginPath();
      pen.moveTo(LEFT, y);
      pen.lineTo(place.width - RIGHT, y);
      pen.stroke();
      pen.fillText(axisLabel.format(tick), LEFT - 8, y);
    }
    pen.textBaseline = "bottom";
    for (const [text, part, align] of [["60 s ago", 0, "left"], ["30 s", 0.5, "center"], ["now", 1, "right"]]) {
      pen.textAlign = align;
      pen.fillText(text, LEFT + part * (place.width - LEFT - RIGHT), place.height);
    }
  }

  #drawSeries(pen, place, color) {
    if (this.samples.length === 0) return;
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, place.width - LEFT, place.height - BOTTOM + 1);
    pen.clip();
    const line = new Path2D();
    for (const [time, value] of this.samples) line.lineTo(place.x(time), place.y(value));
    const area = new Path2D(line);
    area.lineTo(place.x(this.samples.at(-1)[0]), place.height - BOTTOM);
    area.lineTo(place.x(this.samples[0][0]), place.height - BOTTOM);
    pen.globalAlpha = 0.12;
    pen.fillStyle = color;
    pen.fill(area);
    pen.globalAlpha = 1;
    pen.strokeStyle = color;
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    pen.stroke(line);
    pen.restore();
    const [time, value] = this.samples.at(-1);
    pen.fillStyle = color;
    pen.beginPath();
    pen.arc(place.x(time), place.y(value), 3.5, 0, 2 * Math.PI);
    pen.fill();
  }

  #drawReading(pen, place, color, now) {
    const distance = ([time]) => Math.abs(place.x(time) - this.pointer);
    const near = this.samples.filter((sample) => distance(sample) < NEAR);
    if (near.length === 0) return;
    const nearest = near.reduce((best, sample) => (distance(sample) < distance(best) ? sample : best));
    const x = place.x(nearest[0]);
    pen.strokeStyle = color("--quiet");
    pen.beginPath();
    pen.moveTo(x, TOP);
    pen.lineTo(x, place.height - BOTTOM);
    pen.stroke();
    const age = Math.round((now - nearest[0]) / 1000);
    const text = `${this.format(nearest[1])}, ${age ? `${age} s ago` : "now"}`;
    const room = pen.measureText(text).width + 16;
    const left = Math.min(Math.max(x - room / 2, LEFT), place.width - RIGHT - room);
    pen.fillStyle = color("--ink");
    pen.beginPath();
    pen.roundRect(left, TOP, room, 24, 6);
    pen.fill();
    pen.fillStyle = color("--card");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(text, left + room / 2, TOP + 12.5);
  }
}
