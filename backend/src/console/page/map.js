// The map: networks with their ports, and who talks to whom. Where things stand depends on the names alone, so that nothing jumps.

import { Keyed, Table, el, field, setAll, svg, write } from "./dom.js";
import { bits, perSecond } from "./figures.js";

const NODE = { width: 186, height: 52 };
const GAP = { x: 112, y: 44 };
const PADDING = { side: 20, top: 44, bottom: 22 };
/** Ports, boxes and pairs of ports that are drawn; a filter finds the others. */
const NODES_MOST = 300;
const BOXES_MOST = 60;
const EDGES_MOST = 200;

/** Whether a port carries frames, in a word that is a class, too. */
const CONDITION = { running: "on", attached: "on", broken: "bad" };

/** The boxes of a state: uplinks, trunks, and each network with its own ports. */
function boxes(status, isWanted) {
  const ports = status.ports.filter((port) => isWanted(port.name) || isWanted(port.network));
  const uplinks = ports.filter((port) => port.type === "uplink");
  const trunks = ports.filter((port) => port.type !== "uplink" && port.network.includes(","));
  const own = status.networks.map((network) => ({
    name: network.name,
    about: about(network),
    kind: "network",
    ports: ports.filter((port) => port.type !== "uplink" && port.network === network.name),
  }));
  const all = [{ name: "uplinks", about: "", kind: "outside", ports: uplinks }, { name: "trunks", about: "", kind: "outside", ports: trunks }, ...own];
  return all.filter((box) => box.ports.length > 0 || (box.kind === "network" && isWanted(box.name)));
}

function about(network) {
  return [network.mode, network.vlan === null ? null : `VLAN ${network.vlan}`].filter(Boolean).join(", ");
}

/** How wide and high a box is whose ports stand in so many columns. */
function size(box, width) {
  const room = Math.max(1, Math.floor((width - 2 * PADDING.side + GAP.x) / (NODE.width + GAP.x)));
  const columns = Math.max(1, Math.min(room, Math.ceil(Math.sqrt(box.ports.length * 1.5))));
  const rows = Math.ceil(box.ports.length / columns);
  return {
    columns,
    width: columns * (NODE.width + GAP.x) - GAP.x + 2 * PADDING.side,
    height: Math.max(0, rows * (NODE.height + GAP.y) - GAP.y) + PADDING.top + PADDING.bottom,
  };
}

/** Where boxes and nodes stand in a picture of this width: `{ boxes, nodes, height, more }`. */
export function layout(status, width, isWanted) {
  const placed = { boxes: [], nodes: new Map(), width, height: 0, more: 0 };
  const all = boxes(status, isWanted);
  const total = all.reduce((sum, box) => sum + box.ports.length, 0);
  // Where there are too many, each box has the same share.
  const share = total <= NODES_MOST ? total : Math.max(1, Math.floor(NODES_MOST / Math.min(all.length, BOXES_MOST)));
  let [x, y, rowHeight] = [1, 1, 0];
  for (const box of all.slice(0, BOXES_MOST)) {
    const shown = { ...box, ports: box.ports.slice(0, share) };
    if (box.ports.length > share) shown.about = [box.about, `${box.ports.length} ports`].filter(Boolean).join("; ");
    const dimensions = size(shown, width);
    if (x > 1 && x + dimensions.width > width) [x, y, rowHeight] = [1, y + rowHeight + 28, 0];
    placed.boxes.push({ ...shown, ...dimensions, x, y });
    placeNodes(placed.nodes, shown.ports, dimensions.columns, x, y);
    rowHeight = Math.max(rowHeight, dimensions.height);
    placed.width = Math.max(placed.width, x + dimensions.width + 1);
    x += dimensions.width + 36;
    placed.height = y + rowHeight + 1;
  }
  placed.more = total - placed.nodes.size;
  return placed;
}

function placeNodes(nodes, ports, columns, x, y) {
  ports.forEach((port, at) => nodes.set(port.name, {
    name: port.name,
    x: x + PADDING.side + (at % columns) * (NODE.width + GAP.x),
    y: y + PADDING.top + Math.floor(at / columns) * (NODE.height + GAP.y),
  }));
}

/** The way of an edge: a curve that leaves room for the other direction, from border to border. */
function curve(from, to) {
  const [a, b] = [center(from), center(to)];
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const bend = 0.12;
  const knee = { x: (a.x + b.x) / 2 - dy * bend, y: (a.y + b.y) / 2 + dx * bend };
  const [start, end] = [border(a, knee), border(b, knee)];
  const length = Math.hypot(dx, dy) || 1;
  // The label stands beside the curve, on its outer side.
  const middle = { x: (start.x + 2 * knee.x + end.x) / 4 - (dy / length) * 11, y: (start.y + 2 * knee.y + end.y) / 4 + (dx / length) * 11 };
  const point = ({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return { path: `M${point(start)}Q${point(knee)} ${point(end)}`, middle };
}

function center(node) {
  return { x: node.x + NODE.width / 2, y: node.y + NODE.height / 2 };
}

/** Where the line from a node's centre to a point leaves the node. */
function border(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const scale = Math.min(1, (NODE.width / 2 + 3) / Math.abs(dx || 1e-9), (NODE.height / 2 + 3) / Math.abs(dy || 1e-9));
  return { x: from.x + dx * scale, y: from.y + dy * scale };
}

function shortened(name, most) {
  return name.length > most ? name.slice(0, most - 1) + "…" : name;
}

/** The view. */
export class MapView {
  #context;
  #filter = el("input", { type: "search", placeholder: "port or network", input: () => this.update() });
  #note = el("p", { class: "note" });
  #picture;
  #layers;
  #flows = new Table("Who talks to whom, as samples tell", [
    { title: "Enters at" }, { title: "Packets" }, { title: "Goes to" }, { title: "About", number: true },
  ], 25);

  constructor(context) {
    this.#context = context;
    const layers = ["links", "boxes", "edges", "nodes", "labels"].map((name) => [name, svg("g", { class: name })]);
    this.#layers = Object.fromEntries(layers.map(([name, group]) => [name, new Keyed(group)]));
    this.#picture = svg("svg", { role: "group", "aria-label": "Map of networks and ports" }, arrow(), layers.map(([, group]) => group));
    this.element = el("section", { class: "view map" }, field("Show only", this.#filter), this.#note,
      el("div", { class: "picture" }, this.#picture), this.#flows.element);
    new ResizeObserver(() => this.update()).observe(this.element);
  }

  update() {
    const { state, talkers } = this.#context;
    if (state === null || this.element.clientWidth === 0) return;
    const words = this.#filter.value.toLowerCase();
    const placed = layout(state.status, this.element.clientWidth - 2, (name) => name.toLowerCase().includes(words));
    setAll(this.#picture, { viewBox: `0 0 ${placed.width} ${placed.height}`, width: placed.width, height: placed.height });
    write(this.#note, placed.more > 0 ? `${placed.more} more ports are not drawn; the filter finds them` : "");
    this.#drawBoxes(placed);
    this.#drawNodes(placed, state);
    const edges = talkers.edges().filter(({ from, to }) => placed.nodes.has(from) && placed.nodes.has(to));
    this.#drawEdges(placed, edges.slice(0, EDGES_MOST));
    this.#flows.show(talkers.flows().map(flowRow), "No frames came in the last seconds.");
  }

  #drawBoxes(placed) {
    const make = (box) => svg("g", { class: `box ${box.kind}` }, svg("rect", { rx: 10 }),
      svg("text", { class: "name" }), svg("text", { class: "about" }));
    this.#layers.boxes.show(placed.boxes, (box) => `${box.kind} ${box.name}`, make, (element, box) => {
      const [rect, name, about] = element.children;
      setAll(rect, { x: box.x, y: box.y, width: box.width, height: box.height });
      setAll(name, { x: box.x + 14, y: box.y + 20 });
      setAll(about, { x: box.x + 14, y: box.y + 35 });
      write(name, shortened(box.name, Math.floor(box.width / 9)));
      write(about, box.about);
    });
    this.#layers.links.show(links(placed), (link) => link.key, () => svg("path", { class: "link" }),
      (element, link) => setAll(element, { d: link.path }));
  }

  #drawNodes(placed, state) {
    const ports = state.status.ports.filter((port) => placed.nodes.has(port.name));
    const make = (port) => node(port, () => this.#context.open(port.name));
    this.#layers.nodes.show(ports, (port) => port.name, make, (element, port) => {
      const { x, y } = placed.nodes.get(port.name);
      updateNode(element, port, state.rates.get(port.name), x, y);
    });
  }

  #drawEdges(placed, edges) {
    const drawn = edges.filter(({ from, to }) => from !== to).map((edge) => ({
      ...edge, key: JSON.stringify([edge.from, edge.to]), ...curve(placed.nodes.get(edge.from), placed.nodes.get(edge.to)),
    }));
    const make = (edge) => svg("path", { class: "edge", "marker-end": "url(#arrow)", "data-from": edge.from, "data-to": edge.to },
      svg("title"));
    this.#layers.edges.show(drawn, (edge) => edge.key, make, (element, edge) => {
      setAll(element, { d: edge.path, "stroke-width": thickness(edge.bits) });
      write(element.firstChild, `${edge.from} to ${edge.to}: about ${bits(edge.bits)}`);
    });
    this.#layers.labels.show(drawn, (edge) => edge.key, () => svg("text", { class: "rate" }), (element, edge) => {
      setAll(element, { x: edge.middle.x, y: edge.middle.y + 4 });
      write(element, bits(edge.bits));
    });
  }
}

function arrow() {
  const marker = { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" };
  return svg("defs", {}, svg("marker", marker, svg("path", { d: "M0 0L8 4L0 8z", class: "arrow" })));
}

/** A line of 1 to 6 pixels, by the magnitude. */
function thickness(rate) {
  return Math.max(1, Math.min(6, Math.log10(Math.max(rate, 1)) - 2.5)).toFixed(1);
}

/** From uplinks and trunks to their networks. */
function links(placed) {
  const outside = placed.boxes.filter((box) => box.kind === "outside").flatMap((box) => box.ports);
  return outside.flatMap((port) => port.network.split(",").map((name) => {
    const box = placed.boxes.find((box) => box.kind === "network" && box.name === name.trim());
    const from = center(placed.nodes.get(port.name) ?? { x: 0, y: 0 });
    if (box === undefined || !placed.nodes.has(port.name)) return null;
    const x = Math.max(box.x + 16, Math.min(box.x + box.width - 16, from.x));
    return { key: JSON.stringify([port.name, name]), path: `M${from.x} ${from.y}L${x} ${box.y}` };
  })).filter((link) => link !== null);
}

function node(port, open) {
  const onKey = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), open());
  const attributes = { tabindex: 0, role: "button", "data-port": port.name, click: open, keydown: onKey };
  return svg("g", attributes, svg("title"), svg("rect", { rx: 8, width: NODE.width, height: NODE.height }), svg("path", { class: "dot" }),
    svg("text", { class: "name", x: 30, y: 22 }), svg("text", { class: "figures", x: 12, y: 41 }),
    svg("text", { class: "drops", x: NODE.width - 4, y: -5 }));
}

/** A disc carries frames, a ring waits for somebody, a cross is broken: not by colour alone. */
const MARKS = {
  on: "M12 17a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
  idle: "M12 17a5 5 0 1 0 10 0a5 5 0 1 0 -10 0zM14.5 17a2.5 2.5 0 1 1 5 0a2.5 2.5 0 1 1 -5 0z",
  bad: "M12 13.5l1.5 -1.5l3.5 3.5l3.5 -3.5l1.5 1.5l-3.5 3.5l3.5 3.5l-1.5 1.5l-3.5 -3.5l-3.5 3.5l-1.5 -1.5l3.5 -3.5z",
};

function updateNode(element, port, rate, x, y) {
  const condition = CONDITION[port.state] ?? "idle";
  const [title, , dot, name, figures, drops] = element.children;
  setAll(element, { transform: `translate(${x} ${y})`, class: `node ${condition}` });
  setAll(dot, { d: MARKS[condition] });
  const traffic = `↑ ${bits(rate.receivedBits)}  ↓ ${bits(rate.sentBits)}`;
  const dropped = rate.dropRate > 0 ? `drops ${perSecond(rate.dropRate)}` : "";
  write(name, shortened(port.name, 17));
  write(figures, traffic);
  write(drops, dropped);
  write(title, `${port.name} (${port.type}, ${port.state}): sends ${bits(rate.receivedBits)}, gets ${bits(rate.sentBits)}. ${dropped}`);
}

function flowRow(flow) {
  return { key: JSON.stringify([flow.port, flow.flow, flow.outcome]), cells: [flow.port, flow.flow, flow.outcome, bits(flow.bits)] };
}
