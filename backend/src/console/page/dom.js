// Elements are made here and nowhere else. Whatever is told (names that guests chose among it) becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: attributes, functions for events, and children that are elements or texts. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  setAll(element, attributes);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets attributes; a function listens to the event of that name, false and null are left out. */
export function setAll(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
  }
}

/** Writes a text, if it is another one. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Elements by key: those that stay are kept, so that neither focus nor selection is lost. */
export class Keyed {
  #parent;
  #known = new Map();

  constructor(parent) {
    this.#parent = parent;
  }

  /** Shows items in their order: `make(item)` gives an element, `update(element, item)` what is new. */
  show(items, key, make, update) {
    const known = new Map();
    let place = this.#parent.firstChild;
    for (const item of items) {
      const name = key(item);
      const element = this.#known.get(name) ?? make(item);
      known.set(name, element);
      update(element, item);
      if (element === place) place = place.nextSibling;
      else this.#parent.insertBefore(element, place);
    }
    for (const [name, element] of this.#known) if (!known.has(name)) element.remove();
    this.#known = known;
  }
}

/** A table whose rows are kept: columns are `{ title, number, sort }`, rows `{ key, cells, open }`. */
export class Table {
  #rows;
  #columns;
  #note = el("p", { class: "note" });
  #most;

  constructor(caption, columns, most = 200) {
    this.#columns = columns;
    this.#most = most;
    const body = el("tbody");
    const heads = columns.map((column) => el("th", { scope: "col", class: column.number && "number" }, column.title));
    this.element = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, heads)), body), this.#note);
    this.#rows = new Keyed(body);
  }

  show(rows, nothing) {
    this.#rows.show(rows.slice(0, this.#most), (row) => row.key, (row) => this.#make(row), update);
    const more = rows.length - this.#most;
    write(this.#note, rows.length === 0 ? nothing : more > 0 ? `${more} more; the filter finds them` : "");
  }

  #make(row) {
    const cells = row.cells.map((_, at) => el("td", { class: this.#columns[at].number && "number" }));
    if (row.open) cells[0].append(el("button", { class: "link", type: "button", click: row.open }));
    return el("tr", {}, cells);
  }
}

function update(element, row) {
  row.cells.forEach((text, at) => write(element.cells[at].querySelector("button") ?? element.cells[at], text));
}

/** A field with its label. */
export function field(label, input) {
  return el("label", { class: "field" }, el("span", {}, label), input);
}
