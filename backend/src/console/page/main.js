// The console: what is known, views of it, and what keeps it up to date.

import { ask, follow, rest, takeToken, visible } from "./api.js";
import { el, setAll, write } from "./dom.js";
import { DropsView } from "./drops.js";
import { TableDialog, portEditor } from "./edit.js";
import { EventsView } from "./events.js";
import { duration, rates } from "./figures.js";
import { GroupsView } from "./groups.js";
import { LimitsView } from "./limits.js";
import { MapView } from "./map.js";
import { PortDialog, PortsView } from "./ports.js";
import { Talkers } from "./talkers.js";
import { TraceView } from "./trace.js";

/** How often the state is asked for; a large one, which takes longer, less often. */
const PAUSE_MS = 1000;

/** What all views share. */
const context = {
  about: null,
  state: null,
  talkers: new Talkers(),
  open: (name) => dialog.open(name),
  editor: (name, again) => (context.about.may_edit ? portEditor(name, again) : []),
  table: null,
};

context.table = new TableDialog(context);

const dialog = new PortDialog(context);
const views = new Map();
let shown = null;
/** Whether something happened since the state was asked for. */
let isStale = false;

function page(id) {
  return document.getElementById(id);
}

function health(text, isGood) {
  write(page("health"), text);
  setAll(page("health"), { class: isGood ? "good" : "bad" });
}

/** Shows a view, and says so in the address. */
function show(name) {
  shown = views.has(name) ? name : "map";
  for (const [other, { tab, panel }] of views) {
    setAll(tab, { "aria-selected": String(other === shown), tabindex: other === shown ? 0 : -1 });
    panel.hidden = other !== shown;
  }
  history.replaceState(null, "", `#${shown}`);
  views.get(shown).view.update();
}

function add(name, title, view) {
  const panel = el("div", { id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}` }, view.element);
  const tab = el("button", { id: `tab-${name}`, type: "button", role: "tab", "aria-controls": panel.id, click: () => show(name) }, title);
  views.set(name, { tab, panel, view });
  page("tabs").append(tab);
  page("main").append(panel);
}

/** Arrows go from tab to tab. */
function turn(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step === undefined) return;
  const names = [...views.keys()];
  const next = names.at((names.indexOf(shown) + step) % names.length);
  show(next);
  views.get(next).tab.focus();
}

function refresh() {
  views.get(shown).view.update();
  dialog.update();
}

function take(status) {
  const now = { at: performance.now(), status };
  const before = context.state;
  context.state = { ...now, rates: rates(before, now) };
  const { generation, uptime_s: uptime, ports, networks } = status;
  write(page("facts"), `${networks.length} networks, ${ports.length} ports; configuration ${generation}; up ${duration(uptime)}`);
  health("live", true);
  refresh();
}

async function poll() {
  for (;;) {
    await visible();
    const begun = performance.now();
    isStale = false;
    await ask("GET", "/v1/status").then(take, (error) => health(error.message, false));
    const took = performance.now() - begun;
    await pause(took, Math.max(PAUSE_MS - took, 3 * took));
  }
}

/** Waits so long, or until something happens. */
async function pause(least, milliseconds) {
  const end = performance.now() + milliseconds;
  await rest(Math.max(100, least));
  while (!isStale && performance.now() < end) await rest(50);
}

/** Another address of a console, opened in this tab: only what is behind `#` differs, so the browser does not load the page anew. */
function renew() {
  if (takeToken()) location.reload();
}

async function start() {
  takeToken();
  addEventListener("hashchange", renew);
  context.about = await ask("GET", "/about.json");
  add("map", "Map", new MapView(context));
  add("ports", "Ports", new PortsView(context));
  add("drops", "Drops", new DropsView(context));
  add("trace", "Trace", new TraceView(context));
  add("groups", "Groups", new GroupsView(context));
  add("limits", "Limits", new LimitsView(context));
  add("events", "Events", new EventsView(() => { isStale = true; }, (error) => health(error.message, false)));
  document.body.append(dialog.element, context.table.element);
  page("tabs").addEventListener("keydown", turn);
  show(location.hash.slice(1));
  follow("POST", () => "/v1/watch", "{}", (line) => context.talkers.take(line), (error) => health(error.message, false));
  await poll();
}

start().catch((error) => health(error.message, false));
