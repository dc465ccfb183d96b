// Drops: which frames were not delivered, why, and what to do about it.

import { Table, el, field } from "./dom.js";
import { count, perSecond } from "./figures.js";

/** The view. */
export class DropsView {
  #context;
  #filter = el("input", { type: "search", placeholder: "port or reason", input: () => this.update() });
  #counts = new Table("Drops by port and reason", [
    { title: "Port" }, { title: "Reason" }, { title: "Now", number: true }, { title: "Frames", number: true },
    { title: "Meaning" }, { title: "What to do" },
  ]);
  #examples = new Table("Dropped just now: samples", [
    { title: "Entered at" }, { title: "Packet" }, { title: "Lost at" }, { title: "Reason" }, { title: "Samples", number: true }, { title: "What decided" },
  ]);

  constructor(context) {
    this.#context = context;
    this.element = el("section", { class: "view" }, field("Show only", this.#filter), this.#counts.element, this.#examples.element);
  }

  update() {
    const { state, talkers } = this.#context;
    if (state === null) return;
    const words = this.#filter.value.toLowerCase();
    const isWanted = (port, reason) => [port, reason].some((text) => text.toLowerCase().includes(words));
    const drops = state.status.ports.flatMap((port) => state.rates.get(port.name).drops.map((drop) => ({ port: port.name, ...drop })));
    drops.sort((a, b) => b.rate - a.rate || b.frames - a.frames);
    const rows = drops.filter((drop) => isWanted(drop.port, drop.reason)).map((drop) => this.#row(drop));
    this.#counts.show(rows, "Nothing was dropped.");
    const examples = talkers.dropped.filter((one) => isWanted(one.port, one.reason) || isWanted(one.from, one.reason));
    this.#examples.show(examples.map(example), "No sample of the last seconds was dropped.");
  }

  #row(drop) {
    const remedy = this.#context.about.remedies[drop.reason] ?? "";
    const cells = [drop.port, drop.reason, perSecond(drop.rate), count(drop.frames), drop.meaning, remedy];
    return { key: JSON.stringify([drop.port, drop.reason]), cells, open: () => this.#context.open(drop.port) };
  }
}

function example(one) {
  return { key: one.key, cells: [one.from, one.flow, one.port, one.reason, count(one.samples), one.step] };
}
