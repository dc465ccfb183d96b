// Changes: what is wanted, the difference that it would make, and only then the change itself, if nobody else changed anything meanwhile.

import { Refused, ask, tell, text } from "./api.js";
import { el, field, write } from "./dom.js";

/** A form that shows the difference before it applies it. */
export class Editor {
  #request;
  #tag;
  #again;
  /** What was previewed, and may be applied. */
  #previewed = null;
  /** Another number whenever what is wanted may be something else: answers to what was asked before that are nobody's. */
  #attempt = 0;
  #result = el("div", { class: "result", role: "status" });
  #apply = el("button", { type: "button", class: "main apply", disabled: true, click: () => this.#send(false) }, "Apply");

  /** `request()` gives method, path and body, or null if nothing is wanted; `tag` is that of which the inputs are; `again()` makes them anew. */
  constructor(inputs, { request, tag, again }) {
    this.#request = request;
    this.#tag = tag;
    this.#again = again;
    const preview = el("button", { class: "preview" }, "Preview");
    this.element = el("form", { class: "editor", submit: (event) => { event.preventDefault(); this.#send(true); }, input: () => this.#forget() },
      inputs, el("div", { class: "bar" }, preview, this.#apply), this.#result);
  }

  /** Whatever is typed has to be looked at before it is applied. */
  #forget() {
    this.#attempt += 1;
    this.#previewed = null;
    this.#apply.disabled = true;
    this.#result.replaceChildren();
  }

  async #send(isDry) {
    const wanted = isDry ? this.#request() : this.#previewed;
    this.#forget();
    const attempt = this.#attempt;
    if (wanted === null) return this.#result.replaceChildren(el("p", { class: "note" }, "This changes nothing yet."));
    const path = isDry ? `${wanted.path}${wanted.path.includes("?") ? "&" : "?"}dry_run=true` : wanted.path;
    const options = { body: wanted.body, tag: this.#tag };
    const mine = (then) => (answer) => { if (!isDry || attempt === this.#attempt) then(answer); };
    await tell(wanted.method, path, options)
      .then(mine((answer) => this.#told(answer, isDry, wanted)), mine((error) => this.#refused(error, isDry)));
  }

  #told({ value: answer, tag }, isDry, wanted) {
    const none = answer.changes.length === 0;
    this.#previewed = isDry && !none ? wanted : null;
    this.#apply.disabled = this.#previewed === null;
    if (!isDry) {
      this.#tag = tag;
      wanted.done?.();
    }
    const title = none ? "That is what runs already." : isDry ? "This would change:" : `Done: configuration ${answer.generation} runs.`;
    const notes = [...answer.warnings, answer.not_kept && `A restart forgets it: ${answer.not_kept}`].filter(Boolean);
    this.#result.replaceChildren(el("p", {}, title), el("ul", { class: "changes" }, answer.changes.map(change)),
      ...notes.map((note) => el("p", { class: "notice" }, note)));
  }

  #refused(error, isDry) {
    const isConflict = error instanceof Refused && error.status === 412;
    // A change whose answer did not come may have been made.
    const isUnknown = !isDry && (!(error instanceof Refused) || error.status === 0 || error.status >= 500);
    const sentence = isConflict
      ? `What runs is not what you read: somebody else changed the configuration, the switch was started anew, or a change of yours was made whose answer was lost. Nothing was changed now. Read it again and look at what is there.`
      : isUnknown ? `${error.message}. It may have been done nevertheless: read it again.` : error.message;
    const again = el("button", { type: "button", class: "again", click: () => this.#again() }, "Read again");
    this.#result.replaceChildren(el("p", { class: "notice", role: "alert" }, sentence),
      el("ul", { class: "changes" }, (error.problems ?? []).map(problem)), ...(isConflict || isUnknown ? [again] : []));
  }
}

const SIGNS = { added: "+", removed: "-", changed: "~" };

function change({ kind, object, detail }) {
  return el("li", { class: kind }, `${SIGNS[kind] ?? "~"} ${object}${detail ? `: ${detail}` : ""}`);
}

function problem({ field, found, expected }) {
  return el("li", { class: "removed" }, `${field}: found ${found}, expected ${expected}`);
}

/** The lines of one table of what runs, in a dialog. */
export class TableDialog {
  #context;
  #title = el("h2");
  #content = el("div");
  #turns = 0;

  constructor(context) {
    this.#context = context;
    const close = el("button", { type: "button", click: () => this.element.close() }, "Close");
    this.element = el("dialog", { class: "table", "aria-label": "Lines of the configuration" }, this.#title, this.#content, el("div", { class: "bar" }, close));
  }

  /** What is opened from now on is what is shown, whatever answers come of what was opened before. */
  #turn() {
    this.#turns += 1;
    return this.#turns;
  }

  /** Opens the table of a kind and name. */
  async open(kind, name) {
    const turn = this.#turn();
    const read = await text(`/v1/config?table=${kind}.${name}`).catch((error) => error);
    if (turn !== this.#turns) return;
    write(this.#title, `[${kind}.${name}]`);
    const isThere = !(read instanceof Error);
    this.#content.replaceChildren(isThere ? this.#editor(kind, name, read) : el("p", { class: "notice" }, read.message));
    if (!this.element.open) this.element.showModal();
  }

  #editor(kind, name, { text: lines, tag }) {
    const area = el("textarea", { "aria-label": "Lines", spellcheck: "false", readonly: !this.#context.about.may_edit });
    area.value = lines;
    if (!this.#context.about.may_edit) return area;
    let had = lines;
    const request = () => {
      const body = area.value;
      return body === had ? null : { method: "PUT", path: `/v1/config?table=${kind}.${name}`, body, done: () => { had = body; } };
    };
    return new Editor([area], { request, tag, again: () => this.open(kind, name) }).element;
  }

  /** Opens a table that is still to be named; `inputs` are fields that write lines, as `compose()` gives them. */
  async create(kind, inputs, compose) {
    const turn = this.#turn();
    const name = el("input", { required: true, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,62}", autocomplete: "off", name: "name" });
    const area = el("textarea", { "aria-label": "Lines", spellcheck: "false" });
    area.value = compose();
    const fields = el("div", { class: "bar", input: (event) => { if (event.target !== name) area.value = compose(); } }, field("Name", name), inputs);
    const request = () => ({ method: "PUT", path: `/v1/config?table=${kind}.${name.value}`, body: area.value });
    const read = await text("/v1/groups").catch((error) => error);
    if (turn !== this.#turns) return;
    write(this.#title, `A new [${kind}.NAME]`);
    const again = () => this.create(kind, inputs, compose);
    this.#content.replaceChildren(read instanceof Error ? el("p", { class: "notice" }, read.message)
      : new Editor([fields, area], { request, tag: read.tag, again }).element);
    if (!this.element.open) this.element.showModal();
  }
}

/** What changes a port's groups and QoS. */
export async function portEditor(name, again) {
  // As it is now, and not as it was when it was last drawn: a change of a moment ago is not somebody else's.
  const [{ value: status, tag }, groups] = await Promise.all([tell("GET", "/v1/status"), ask("GET", "/v1/groups")]);
  const port = status.ports.find((port) => port.name === name);
  if (port === undefined) return [];
  const had = { groups: port.groups ?? [], qos: status.qos.declared.find(({ ports }) => ports.includes(name))?.qos ?? "" };
  const boxes = groups.map((group) => el("input", { type: "checkbox", value: group.name, checked: had.groups.includes(group.name) }));
  const qos = el("select", { name: "qos" }, el("option", { value: "" }, "none"),
    status.qos.declared.map((declared) => el("option", { value: declared.qos, selected: declared.qos === had.qos }, declared.qos)));
  const choices = boxes.map((box) => el("label", {}, box, " ", box.value));
  const inputs = el("fieldset", {}, el("legend", {}, "Change"), field("QoS", qos),
    port.type === "uplink" ? null : el("div", { class: "choices", role: "group", "aria-label": "Groups" }, choices));
  const request = () => portRequest(name, had, boxes.filter((box) => box.checked).map((box) => box.value), qos.value);
  return [new Editor([inputs], { request, tag, again }).element];
}

/** Only what is wanted otherwise is asked for. */
function portRequest(name, had, groups, qos) {
  const edit = {};
  const done = () => Object.assign(had, { groups, qos });
  const isSame = groups.length === had.groups.length && groups.every((group) => had.groups.includes(group));
  if (!isSame) edit.groups = groups;
  if (qos !== had.qos) edit.qos = qos === "" ? null : qos;
  return Object.keys(edit).length === 0 ? null : { method: "PATCH", path: `/v1/ports/${encodeURIComponent(name)}`, body: JSON.stringify(edit), done };
}
