// Limits: every QoS, whom it holds for, what it let through, and its lines.

import { Table, el, field } from "./dom.js";
import { bits, count } from "./figures.js";

const COLUMNS = [
  { title: "QoS" }, { title: "Ports" }, { title: "What they may send" }, { title: "Dropped", number: true },
  { title: "They get", number: true }, { title: "At most", number: true }, { title: "Waits", number: true }, { title: "Dropped", number: true },
];

/** The view. */
export class LimitsView {
  #context;
  #table = new Table("Limits", COLUMNS);

  constructor(context) {
    this.#context = context;
    const create = el("button", { type: "button", class: "new", click: () => this.#create() }, "New limit");
    this.element = el("section", { class: "view" }, context.about.may_edit ? el("div", { class: "bar" }, create) : null, this.#table.element,
      el("p", { class: "note" }, "Which port has which limit is chosen at the port: open it on the map."));
  }

  update() {
    const { state } = this.#context;
    if (state === null) return;
    const { declared, meters, trees } = state.status.qos;
    this.#table.show(declared.map((qos) => this.#row(qos, meters, trees)), "The configuration has no QoS.");
  }

  #row({ qos, ports }, meters, trees) {
    const own = meters.filter((meter) => meter.qos === qos);
    const roots = trees.filter((tree) => tree.qos === qos).map((tree) => tree.classes[0]);
    const sum = (list, value) => list.reduce((all, one) => all + value(one), 0);
    const rate = roots.find((root) => root.rate_bits !== null)?.rate_bits;
    const named = ports.slice(0, 20).join(", ") + (ports.length > 20 ? ` and ${ports.length - 20} more` : "");
    const cells = [
      qos, named || "none", own[0]?.limits ?? "", own.length > 0 ? count(sum(own, (meter) => meter.dropped.packets)) : "",
      roots.length > 0 ? bits(sum(roots, (root) => root.bits_per_second)) : "", rate === undefined ? "" : bits(rate),
      roots.length > 0 ? count(sum(roots, (root) => root.backlog_frames)) : "", roots.length > 0 ? count(sum(roots, (root) => root.dropped)) : "",
    ];
    return { key: qos, cells, open: () => this.#context.table.open("qos", qos) };
  }

  /** Two rates are enough for most; the lines may say more. */
  #create() {
    const rate = (name, value) => el("input", { name, value, size: 10, autocomplete: "off" });
    const [sends, gets] = [rate("sends", "50mbit"), rate("gets", "80mbit")];
    const compose = () => [
      sends.value && `# What comes from the guest; what is above is dropped.\ningress = { police = "${sends.value}", burst = "128KiB" }\n`,
      gets.value && `# What goes to the guest; what is above waits.\negress = { kind = "tbf", rate = "${gets.value}", burst = "64KiB" }\n`,
    ].filter(Boolean).join("");
    this.#context.table.create("qos", [field("May send", sends), field("May get", gets)], compose);
  }
}
