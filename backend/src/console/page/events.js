// Events: what happened, the newest first.

import { follow } from "./api.js";
import { Table, el } from "./dom.js";

/** Events that are kept. */
const MOST = 200;

/** The view. */
export class EventsView {
  #rows = [];
  #place = null;
  #table = new Table("What happened", [{ title: "When" }, { title: "What" }, { title: "Kind" }, { title: "More" }]);

  /** `happened(event)` hears of each. */
  constructor(happened, broken) {
    this.element = el("section", { class: "view" }, this.#table.element);
    follow("GET", () => this.#path(), undefined, (line) => this.#take(line, happened), broken);
  }

  /** Goes on where it was; the daemon tells the last ones that it keeps. */
  #path() {
    return this.#place === null ? "/v1/events?from=1" : `/v1/events?from=${this.#place.next}&run=${this.#place.run}`;
  }

  #take(line, happened) {
    if (line.place) this.#place = { run: line.place.run, next: this.#place?.run === line.place.run ? this.#place.next : 1 };
    if (line.event === undefined) return;
    const { id, unix_ms: time, kind, object, detail } = line.event;
    this.#place.next = id + 1;
    const when = new Date(time).toLocaleTimeString();
    this.#rows.unshift({ key: `${this.#place.run} ${id}`, cells: [when, object, kind, detail] });
    this.#rows.length = Math.min(this.#rows.length, MOST);
    happened(line.event);
  }

  update() {
    this.#table.show(this.#rows, "Nothing happened yet.");
  }
}
