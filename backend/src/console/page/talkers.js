// Who talks to whom: samples of frames as the daemon tells them, made whole by how many frames each stands for.

/** Seconds that are looked back at. */
const WINDOW = 5;
/** Pairs, and flows, that are told apart in a second. */
const MOST = 2000;
/** Drops that are kept as examples. */
const EXAMPLES = 50;

export class Talkers {
  #closed = [];
  #open = bucket();
  #frames = null;
  /** Samples that were dropped or lost, those alike counted, the newest first. */
  dropped = [];

  /** Takes a line of POST /v1/watch. */
  take(line) {
    if (line.sample) this.#sample(line.sample);
    else if (line.sampling) this.#close(line.sampling);
  }

  #sample(event) {
    const { flow, bytes } = describe(event.packet);
    this.#open.samples += 1;
    const to = event.verdict.receivers.map((receiver) => receiver.port);
    to.forEach((port) => add(this.#open.edges, [event.port, port], bytes));
    add(this.#open.flows, [event.port, flow, outcome(event, to)], bytes);
    if (event.verdict.kind === "dropped" || event.lost_at !== null) this.#note(event, flow);
  }

  #note(event, flow) {
    const { port, reason } = event.lost_at ?? { port: event.port, reason: event.verdict.reason };
    const key = JSON.stringify([event.port, flow, port, reason]);
    const alike = this.dropped.find((one) => one.key === key);
    const one = { key, from: event.port, flow, port, reason, step: event.step?.outcome ?? "", samples: (alike?.samples ?? 0) + 1 };
    this.dropped = [one, ...this.dropped.filter((other) => other !== alike)].slice(0, EXAMPLES);
  }

  /** A second is over: of so many frames these were samples. */
  #close(tally) {
    const frames = this.#frames === null ? 0 : Math.max(0, tally.frames - this.#frames);
    this.#frames = tally.frames;
    const scale = this.#open.samples > 0 ? Math.max(1, frames / this.#open.samples) : 0;
    this.#closed.push({ ...this.#open, scale, end: performance.now() });
    this.#closed = this.#closed.slice(-WINDOW);
    this.#open = bucket();
  }

  /** Ports that talk: `{ from, to, bits }`, the most first. */
  edges() {
    return this.#sum("edges").map(({ parts: [from, to], bits }) => ({ from, to, bits }));
  }

  /** Flows: `{ port, flow, outcome, bits }`, the most first. */
  flows() {
    return this.#sum("flows").map(({ parts: [port, flow, outcome], bits }) => ({ port, flow, outcome, bits }));
  }

  #sum(kind) {
    const seconds = this.#closed.reduce((sum, one) => sum + one.end - one.start, 0) / 1000;
    const sums = new Map();
    for (const one of this.#closed) {
      for (const [key, bytes] of one[kind]) sums.set(key, (sums.get(key) ?? 0) + bytes * one.scale);
    }
    const told = [...sums].map(([key, bytes]) => ({ parts: JSON.parse(key), bits: (bytes * 8) / seconds }));
    return told.sort((a, b) => b.bits - a.bits);
  }
}

function bucket() {
  return { start: performance.now(), samples: 0, edges: new Map(), flows: new Map() };
}

function add(map, parts, bytes) {
  const key = JSON.stringify(parts);
  if (map.size < MOST || map.has(key)) map.set(key, (map.get(key) ?? 0) + bytes);
}

/** Who speaks to whom, and how long the packet is, of its words: `tcp A > B flags ... length 54`. */
function describe(packet) {
  const words = packet.split(" ");
  const at = words.lastIndexOf("length");
  return { flow: words.slice(0, words[2] === ">" ? 4 : 3).join(" "), bytes: at < 0 ? 0 : Number(words[at + 1]) || 0 };
}

function outcome(event, to) {
  const { kind, reason } = event.verdict;
  if (kind === "dropped") return `dropped: ${reason}`;
  if (kind === "control") return "the switch itself";
  if (kind === "unknown") return "waits";
  return event.flooded_to === null ? to.join(", ") : `${event.flooded_to} ports`;
}
