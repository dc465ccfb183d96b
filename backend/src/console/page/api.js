// What is asked of the daemon, by way of the console that serves this page.

const STORE = "viaduct-token";

/** An answer that is no success: its status, and what the daemon says. */
export class Refused extends Error {
  constructor(status, refusal) {
    super(refusal.error ?? `status ${status}`);
    this.status = status;
    this.problems = refusal.problems ?? [];
    this.leftOut = refusal.left_out ?? 0;
  }
}

/** Takes the token out of the address, where it could be seen, and keeps it for this tab; says whether there was one. */
export function takeToken() {
  const said = new URLSearchParams(location.hash.slice(1)).get("token");
  if (said === null) return false;
  sessionStorage.setItem(STORE, said);
  history.replaceState(null, "", location.pathname);
  return true;
}

function head(tag) {
  const head = { Authorization: `Bearer ${sessionStorage.getItem(STORE) ?? ""}` };
  if (tag !== undefined) head["If-Match"] = tag;
  return head;
}

async function send(method, path, { body, tag, signal }) {
  const options = { method, body, signal, headers: head(tag), cache: "no-store" };
  const answer = await fetch(path, options).catch((error) => {
    if (signal?.aborted) throw error;
    throw new Refused(0, { error: "the console does not answer: start it again with viaduct console" });
  });
  if (answer.ok) return answer;
  throw new Refused(answer.status, await answer.json().catch(() => ({})));
}

/** The entity tag of the configuration that an answer is of, to be sent as it came. */
function tagOf(answer) {
  return answer.headers.get("ETag") ?? undefined;
}

/** An answer in JSON with its tag; `options` may have a body, and the tag of what must run. */
export async function tell(method, path, options = {}) {
  const answer = await send(method, path, options);
  return { value: await answer.json(), tag: tagOf(answer) };
}

/** An answer in JSON. */
export async function ask(method, path, options = {}) {
  return (await tell(method, path, options)).value;
}

/** A text with its tag. */
export async function text(path) {
  const answer = await send("GET", path, {});
  return { text: await answer.text(), tag: tagOf(answer) };
}

/** Hears lines of JSON until the signal, or the end. */
export async function lines(method, path, options, each) {
  const answer = await send(method, path, options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    parts.filter((line) => line !== "").forEach((line) => each(JSON.parse(line)));
  }
}

/** Hears lines for as long as the page is looked at, again after each break; `broken` hears why there was one. */
export async function follow(method, path, body, each, broken) {
  for (;;) {
    await visible();
    const stop = new AbortController();
    const hide = () => document.hidden && stop.abort();
    document.addEventListener("visibilitychange", hide);
    await lines(method, path(), { body, signal: stop.signal }, each).catch((error) => {
      if (!stop.signal.aborted) broken(error);
    });
    document.removeEventListener("visibilitychange", hide);
    await rest(1000);
  }
}

export function rest(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Waits until somebody looks at the page. */
export function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
