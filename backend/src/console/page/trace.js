// What would become of a packet: a form, and the way that it takes.

import { ask } from "./api.js";
import { el, field } from "./dom.js";

/** The view. */
export class TraceView {
  #context;
  #ports = el("datalist", { id: "trace-ports" });
  #port = el("input", { list: "trace-ports", required: true, autocomplete: "off", name: "port" });
  #packet = el("input", { required: true, autocomplete: "off", name: "packet", class: "wide", spellcheck: "false",
    placeholder: "tcp 10.0.0.5:4000 > 10.0.0.9:3306" });
  #result = el("div", { class: "result", "aria-live": "polite" });

  constructor(context) {
    this.#context = context;
    const form = el("form", { class: "bar", submit: (event) => { event.preventDefault(); this.#ask(); } },
      field("Enters at", this.#port), field("Packet", this.#packet), el("button", {}, "Trace"), this.#ports);
    const hint = "In words as for viaduct trace, or a whole frame in hex. Nothing is sent, and nothing changes.";
    this.element = el("section", { class: "view" }, form, el("p", { class: "note" }, hint), this.#result);
  }

  update() {
    const { state } = this.#context;
    const names = state === null ? [] : state.status.ports.slice(0, 1000).map((port) => port.name);
    if (names.length === this.#ports.children.length && names.every((name, at) => this.#ports.children[at].value === name)) return;
    this.#ports.replaceChildren(...names.map((name) => el("option", { value: name })));
  }

  async #ask() {
    const body = JSON.stringify({ port: this.#port.value, packet: this.#packet.value });
    const parts = await ask("POST", "/v1/trace", { body }).then(
      (trace) => told(trace, this.#context.about),
      (error) => [el("p", { class: "notice", role: "alert" }, error.message)],
    );
    this.#result.replaceChildren(...parts);
  }
}

/** What becomes of it, and how. */
function told(trace, about) {
  const { verdict } = trace;
  const remedy = verdict.reason === null ? null : about.remedies[verdict.reason];
  return [
    el("p", { class: `verdict ${verdict.kind}` }, sentence(verdict)),
    verdict.meaning === null ? null : el("p", {}, verdict.meaning),
    remedy ? el("p", {}, "What to do: ", remedy) : null,
    el("p", { class: "note" }, trace.packet),
    el("ol", { class: "steps" }, trace.steps.map(step)),
  ].filter((part) => part !== null);
}

function sentence({ kind, receivers, reason }) {
  const to = receivers.map(({ port, running }) => (running ? port : `${port} (nobody is there)`)).join(", ");
  return { sent: `Sent to ${to}`, dropped: `Dropped: ${reason}`, control: "For the switch itself" }[kind] ?? "That depends on bytes that are not known";
}

function step({ stage, looked_at: fields, outcome, dropped }) {
  const seen = fields.map(({ field, value }) => el("div", {}, el("dt", {}, field), el("dd", {}, value)));
  return el("li", { class: dropped === null ? null : "dropped" }, el("strong", {}, stage), " ", outcome, el("dl", {}, seen));
}
