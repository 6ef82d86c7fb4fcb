// The WebSocket: states, events, and the newest pictures of the sources that are shown.

const HISTORY = 300;
const AGAIN_MS = 1500;

class Live extends EventTarget {
  state = { sources: [], gallery: { version: [0, 0] }, review: 0, undo: null };
  events = [];
  connected = false;
  known = false; // whether the server has said how things are
  #socket = null;
  #painters = new Map();
  #wanted = false;

  start() {
    this.#wanted = true;
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    this.#socket?.close();
  }

  /** Paint the pictures of a source until the returned function is called: paint(bitmap). */
  show(source, paint) {
    const painters = this.#painters.get(source) || new Set();
    painters.add(paint);
    this.#painters.set(source, painters);
    this.#say({ show: [...this.#painters.keys()] });
    return () => {
      painters.delete(paint);
      if (!painters.size) this.#painters.delete(source);
      this.#say({ show: [...this.#painters.keys()] });
    };
  }

  on(kind, call) {
    const listener = (event) => call(event.detail);
    this.addEventListener(kind, listener);
    return () => this.removeEventListener(kind, listener);
  }

  source(name) {
    return this.state.sources.find((one) => one.name === name);
  }

  #connect() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.#connection(true);
      this.#say({ show: [...this.#painters.keys()] });
    };
    socket.onmessage = ({ data }) => (typeof data === 'string' ? this.#take(JSON.parse(data)) : this.#picture(data));
    socket.onclose = () => {
      this.#connection(false);
      if (this.#wanted) setTimeout(() => this.#wanted && this.#connect(), AGAIN_MS);
    };
    this.#socket = socket;
  }

  #connection(is) {
    this.connected = is;
    this.#tell('connection', is);
  }

  #take(message) {
    if (message.type === 'state') {
      const before = String(this.state.gallery.version);
      this.state = message.state;
      this.known = true;
      this.#tell('state', this.state);
      if (before !== String(this.state.gallery.version)) this.#tell('gallery', this.state.gallery);
    } else if (message.type === 'event') {
      this.events = [message.event, ...this.events.filter((one) => one.id !== message.event.id)].slice(0, HISTORY);
      this.#tell('event', message.event);
    }
  }

  async #picture(data) {
    const bytes = new Uint8Array(data);
    const name = new TextDecoder().decode(bytes.subarray(1, 1 + bytes[0]));
    try {
      const bitmap = await createImageBitmap(new Blob([bytes.subarray(1 + bytes[0])], { type: 'image/jpeg' }));
      for (const paint of this.#painters.get(name) || []) paint(bitmap);
      bitmap.close();
    } finally {
      this.#say({ drawn: name });
    }
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

export const live = new Live();

/** Draw a view once the server has said how things are; gives what leaves the view. */
export function later(view) {
  let leave = null;
  const off = live.on('state', () => {
    off();
    leave = view();
  });
  return () => (leave ? leave() : off());
}
