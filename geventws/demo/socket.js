// A WebSocket that is opened again, after a growing pause, whenever it closes. `handlers` has received(data), and may
// have opened() and closed(event).
const SHORTEST_PAUSE = 500; // milliseconds
const LONGEST_PAUSE = 8000;

export class LastingSocket {
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.pause = SHORTEST_PAUSE;
    this.open();
  }

  open() {
    this.socket = new WebSocket(this.url);
    this.socket.onopen = () => {
      this.pause = SHORTEST_PAUSE;
      this.handlers.opened?.();
    };
    this.socket.onmessage = ({ data }) => this.handlers.received(data);
    this.socket.onclose = (event) => {
      this.handlers.closed?.(event);
      setTimeout(() => this.open(), this.pause);
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    };
  }

  // Whether the text could be sent.
  send(text) {
    const open = this.socket.readyState === WebSocket.OPEN;
    if (open) this.socket.send(text);
    return open;
  }
}
