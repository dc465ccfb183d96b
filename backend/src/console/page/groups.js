// Security groups: what they allow, who is in them, and their lines.

import { ask } from "./api.js";
import { el, field } from "./dom.js";

/** Groups that are shown; a filter finds the others. */
const MOST = 100;

const RULE = '# Who asks may be a group, an address with its prefix, or anybody if it is left out.\n'
  + 'rules = [\n  { direction = "ingress", protocol = "tcp", ports = 443, remote = "10.0.0.0/8" },\n]\n';

/** The view. */
export class GroupsView {
  #context;
  #filter = el("input", { type: "search", placeholder: "group or port", input: () => this.#draw() });
  #cards = el("div");
  #groups = [];
  #known = null;

  constructor(context) {
    this.#context = context;
    const create = el("button", { type: "button", class: "new", click: () => context.table.create("group", [], () => RULE) }, "New group");
    this.element = el("section", { class: "view" },
      el("div", { class: "bar" }, field("Show only", this.#filter), context.about.may_edit ? create : null), this.#cards);
  }

  /** Asks only where the configuration is another one. */
  async update() {
    const { state } = this.#context;
    if (state === null || state.status.generation === this.#known) return;
    this.#known = state.status.generation;
    this.#groups = await ask("GET", "/v1/groups").catch(() => { this.#known = null; return this.#groups; });
    this.#draw();
  }

  #draw() {
    const words = this.#filter.value.toLowerCase();
    const isWanted = (group) => [group, ...group.ports].some(({ name }) => name.toLowerCase().includes(words));
    const wanted = this.#groups.filter(isWanted);
    const more = wanted.length > MOST ? `${wanted.length - MOST} more; the filter finds them` : "";
    const note = wanted.length === 0 ? "There is no such group." : more;
    this.#cards.replaceChildren(...wanted.slice(0, MOST).map((group) => this.#card(group)), el("p", { class: "note" }, note));
  }

  #card(group) {
    const open = el("button", { type: "button", "data-group": group.name, click: () => this.#context.table.open("group", group.name) },
      this.#context.about.may_edit ? "Edit" : "Lines");
    const ports = group.ports.map((port) => port.name);
    const members = ports.slice(0, 50).join(", ") + (ports.length > 50 ? ` and ${ports.length - 50} more` : "");
    const rules = group.rules.map((rule) => el("li", {}, rule.text));
    const egress = group.egress === "all" ? "Members may send to anybody." : "Members may send what the rules allow.";
    return el("article", { class: "card" }, el("div", { class: "bar" }, el("h2", {}, group.name), open),
      el("p", { class: "note" }, ports.length === 0 ? "No port is in it." : `In it: ${members}`), el("ul", {}, rules), el("p", { class: "note" }, egress));
  }
}
