// Security groups: what they allow, who is in them, and their lines; and the groups of addresses that rules name.

import { ask } from "./api.js";
import { el, field } from "./dom.js";

/** Groups that are shown; a filter finds the others. */
const MOST = 100;

const RULE = '# Who asks may be a group, an address with its prefix, or anybody if it is left out.\n'
  + 'rules = [\n  { direction = "ingress", protocol = "tcp", ports = 443, remote = "10.0.0.0/8" },\n]\n';

const ADDRESSES = 'addresses = ["192.0.2.0/24"]\n';

/** A button that opens lines of a table that is still to be named. */
function creator(context, title, kind, lines) {
  return context.about.may_edit ? el("button", { type: "button", click: () => context.table.create(kind, [], () => lines) }, title) : null;
}

/** The view. */
export class GroupsView {
  #context;
  #filter = el("input", { type: "search", placeholder: "group or port", input: () => this.#draw() });
  #cards = el("div");
  #groups = [];
  #known = null;

  constructor(context) {
    this.#context = context;
    this.element = el("section", { class: "view" }, el("div", { class: "bar" }, field("Show only", this.#filter),
      creator(context, "New group", "group", RULE), creator(context, "New group of addresses", "address_group", ADDRESSES)), this.#cards);
  }

  /** Asks only where the configuration is another one. */
  async update() {
    const { state } = this.#context;
    if (state === null || state.status.generation === this.#known) return;
    this.#known = state.status.generation;
    const asked = ["/v1/groups", "/v1/address_groups"].map((path) => ask("GET", path));
    await Promise.all(asked).then((told) => { this.#groups = told.flat(); }, () => { this.#known = null; });
    this.#draw();
  }

  #draw() {
    const words = this.#filter.value.toLowerCase();
    const isWanted = (group) => [group, ...(group.ports ?? [])].some(({ name }) => name.toLowerCase().includes(words));
    const wanted = this.#groups.filter(isWanted);
    const more = wanted.length > MOST ? `${wanted.length - MOST} more; the filter finds them` : "";
    const note = wanted.length === 0 ? "There is no such group." : more;
    this.#cards.replaceChildren(...wanted.slice(0, MOST).map((group) => this.#card(group)), el("p", { class: "note" }, note));
  }

  #card(group) {
    const kind = group.addresses === undefined ? "group" : "address_group";
    const open = el("button", { type: "button", [`data-${kind}`]: group.name, click: () => this.#context.table.open(kind, group.name) },
      this.#context.about.may_edit ? "Edit" : "Lines");
    const parts = kind === "group" ? allowed(group) : [el("p", { class: "note" }, "Addresses: ", shortened(group.addresses))];
    return el("article", { class: "card" }, el("div", { class: "bar" }, el("h2", {}, group.name), open), parts);
  }
}

/** The first of a list, and how many more there are. */
function shortened(names) {
  return names.slice(0, 50).join(", ") + (names.length > 50 ? ` and ${names.length - 50} more` : "");
}

function allowed(group) {
  const ports = group.ports.map((port) => port.name);
  const rules = group.rules.map((rule) => el("li", {}, rule.text));
  const egress = group.egress === "all" ? "Members may send to anybody." : "Members may send what the rules allow.";
  return [el("p", { class: "note" }, ports.length === 0 ? "No port is in it." : `In it: ${shortened(ports)}`), el("ul", {}, rules),
    el("p", { class: "note" }, egress)];
}
