// Rates: what changed between two states, by the time between them; and how figures are written.

/** How much a counter grew in a second; one that is smaller than before began anew. */
function growth(before, now, seconds) {
  const grown = now < before ? now : now - before;
  return seconds > 0 ? grown / seconds : 0;
}

function byName(list, name) {
  return new Map(list.map((item) => [item[name], item]));
}

/** For each port what goes on between two states, `{ at, status }`, by name. */
export function rates(before, now) {
  const seconds = before === null ? 0 : (now.at - before.at) / 1000;
  const isOther = before !== null && now.status.uptime_s < before.status.uptime_s;
  const old = byName(before === null || isOther ? [] : before.status.ports, "name");
  return new Map(now.status.ports.map((port) => [port.name, ofPort(old.get(port.name) ?? port, port, seconds)]));
}

function ofPort(before, now, seconds) {
  const bits = (way) => growth(before[way].bytes, now[way].bytes, seconds) * 8;
  const frames = (way) => growth(before[way].frames, now[way].frames, seconds);
  const known = byName(before.drops, "reason");
  const drops = now.drops.map((drop) => ({
    ...drop,
    rate: growth(known.get(drop.reason)?.frames ?? 0, drop.frames, seconds),
  }));
  return {
    receivedBits: bits("received"), sentBits: bits("sent"),
    receivedFrames: frames("received"), sentFrames: frames("sent"),
    drops: drops.sort((a, b) => b.rate - a.rate || b.frames - a.frames),
    dropRate: drops.reduce((sum, drop) => sum + drop.rate, 0),
  };
}

/** A number with a unit's prefix: three digits. */
function scaled(value, unit) {
  const prefixes = ["", "k", "M", "G", "T"];
  let at = 0;
  while (value >= 999.5 && at < prefixes.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${Number(value.toPrecision(3))} ${prefixes[at]}${unit}`;
}

export function bits(rate) {
  return scaled(rate, "bit/s");
}

export function perSecond(rate) {
  return rate === 0 ? "0" : rate < 1 ? "<1/s" : scaled(rate, "").trim() + "/s";
}

export function count(number) {
  return number.toLocaleString("en");
}

export function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${seconds} s`;
}
