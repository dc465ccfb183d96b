// Ports: a table of all, and all about one.

import { Table, el, field, write } from "./dom.js";
import { bits, count, perSecond } from "./figures.js";

const COLUMNS = [
  { title: "Port" }, { title: "Network" }, { title: "Type" }, { title: "State" },
  { title: "Sends", number: true }, { title: "Gets", number: true }, { title: "Drops", number: true },
];

/** The view of all ports. */
export class PortsView {
  #context;
  #filter = el("input", { type: "search", placeholder: "port, network or state", input: () => this.update() });
  #order = el("select", { change: () => this.update() }, ...["name", "traffic", "drops"].map((name) => el("option", {}, name)));
  #table = new Table("Ports and uplinks", COLUMNS);

  constructor(context) {
    this.#context = context;
    this.element = el("section", { class: "view" },
      el("div", { class: "bar" }, field("Show only", this.#filter), field("First by", this.#order)), this.#table.element);
  }

  update() {
    const { state } = this.#context;
    if (state === null) return;
    const words = this.#filter.value.toLowerCase();
    const isWanted = (port) => [port.name, port.network, port.state].some((text) => text.toLowerCase().includes(words));
    const rows = state.status.ports.filter(isWanted).map((port) => ({ port, rate: state.rates.get(port.name) }));
    rows.sort(this.#comparison());
    this.#table.show(rows.map(({ port, rate }) => this.#row(port, rate)), "There is no such port.");
  }

  #comparison() {
    const weight = {
      traffic: ({ rate }) => rate.receivedBits + rate.sentBits,
      drops: ({ rate, port }) => rate.dropRate * 1e9 + port.drops.reduce((sum, drop) => sum + drop.frames, 0),
    }[this.#order.value];
    return weight === undefined ? () => 0 : (a, b) => weight(b) - weight(a);
  }

  #row(port, rate) {
    const cells = [port.name, port.network, port.type, port.state, bits(rate.receivedBits), bits(rate.sentBits), perSecond(rate.dropRate)];
    return { key: port.name, cells, open: () => this.#context.open(port.name) };
  }
}

/** All about one port, in a dialog that follows what happens. */
export class PortDialog {
  #context;
  #name = null;
  #title = el("h2");
  #facts = el("dl");
  #drops = new Table("What is dropped here", [
    { title: "Reason" }, { title: "Now", number: true }, { title: "Frames", number: true }, { title: "Meaning" }, { title: "What to do" },
  ]);
  #editing = el("div");

  constructor(context) {
    this.#context = context;
    const close = el("button", { type: "button", click: () => this.element.close() }, "Close");
    this.element = el("dialog", { class: "port", "aria-label": "Port", close: () => { this.#name = null; } },
      this.#title, this.#facts, this.#drops.element, this.#editing, el("div", { class: "bar" }, close));
  }

  open(name) {
    this.#name = name;
    this.#editing.replaceChildren();
    this.update();
    this.element.showModal();
    this.#edit();
  }

  async #edit() {
    const name = this.#name;
    const parts = await Promise.resolve(this.#context.editor(name, () => this.#edit())).catch((error) => [el("p", { class: "notice" }, error.message)]);
    if (this.#name === name) this.#editing.replaceChildren(...parts);
  }

  update() {
    const { state } = this.#context;
    if (this.#name === null || state === null) return;
    const port = state.status.ports.find((port) => port.name === this.#name);
    write(this.#title, this.#name);
    if (port === undefined) return this.#facts.replaceChildren(el("dt", {}, "State"), el("dd", {}, "this port is gone"));
    const rate = state.rates.get(port.name);
    this.#facts.replaceChildren(...facts(port, rate, state).flatMap(([what, text]) => [el("dt", {}, what), el("dd", {}, text)]));
    this.#drops.show(rate.drops.map((drop) => dropRow(drop, this.#context.about)), "Nothing was dropped.");
  }
}

function facts(port, rate, { status }) {
  const qos = status.qos.declared.filter((declared) => declared.ports.includes(port.name)).map((declared) => declared.qos);
  const traffic = (bitRate, frames, total) => `${bits(bitRate)}, ${perSecond(frames)} frames; ${count(total.frames)} frames in all`;
  return [
    ["State", [port.state, port.detail].filter(Boolean).join(": ")],
    ["Network", port.network],
    ["Type", port.type],
    ["Address", port.mac || "not known yet"],
    ["MTU", String(port.mtu)],
    ["Groups", port.groups === null ? "none: it is not filtered" : port.groups.join(", ")],
    ["QoS", qos.join(", ") || "none"],
    ["Sends", traffic(rate.receivedBits, rate.receivedFrames, port.received)],
    ["Gets", traffic(rate.sentBits, rate.sentFrames, port.sent)],
  ];
}

function dropRow(drop, about) {
  const cells = [drop.reason, perSecond(drop.rate), count(drop.frames), drop.meaning, about.remedies[drop.reason] ?? ""];
  return { key: drop.reason, cells };
}
