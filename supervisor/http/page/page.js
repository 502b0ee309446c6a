"use strict";
// Requests /status once a second and /history at its own interval while the tab is visible, and
// shows them. All data of the fleet is inserted as text, never as HTML.

const POLL = 1000; // milliseconds between two requests
const SLOWEST = 15000; // … after the supervisor has not answered for a while
const TIMEOUT = 5000;
const SHOWN_FAILURES = 20;
const SVG = "http://www.w3.org/2000/svg";
const UP = new Set(["assigned", "processing"]);
const MOODS = { assigned: "good", processing: "good", starting: "busy", draining: "busy",
                backing_off: "bad", failed: "bad", gone: "calm" };
const COLUMNS = ["Worker", "State", "For", "PID", "Partitions", "In flight", "Lag", "Records/s",
                 "Memory", "Restarts"];

// Words

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function amount(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e5) return short.format(value);
  return (value < 100 ? fine : whole).format(value);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

function memory(bytes) {
  return bytes === null || bytes === undefined ? "–" : `${whole.format(bytes / 2 ** 20)} MiB`;
}

function reasons(total, by) {
  const each = Object.entries(by).map(([reason, count]) => `${words(reason)} ${count}`);
  return total === 0 ? "0" : `${total} (${each.join(", ")})`;
}

function words(name) {
  return name.replaceAll("_", " ");
}

// [["orders", 0], ["orders", 1], ["orders", 2], ["mail", 5]]: orders 0–2, mail 5
function partitions(held) {
  const topics = new Map();
  for (const [topic, number] of held) topics.set(topic, [...(topics.get(topic) ?? []), number]);
  const each = [...topics].map(([topic, numbers]) => `${topic} ${ranges(numbers)}`);
  return each.join(", ") || "–";
}

function ranges(numbers) {
  const runs = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(" ");
}

// The document

const page = Object.fromEntries(
  ["instance", "connection", "announcements", "reload", "summary", "consumers", "failures"].map((id) => [
    id, document.getElementById(id)]));

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function say(node, text) {
  // Text that has not changed is not set again: a selection, or a reader's place, would be lost.
  if (node.textContent !== String(text)) node.textContent = text;
}

function set(node, attribute, value) {
  if (node.getAttribute(attribute) !== value) node.setAttribute(attribute, value);
}

// Makes one child of `parent` for each key, in that order; keys that stay keep their elements.
const children = new WeakMap();
function each(parent, keys, make) {
  const before = children.get(parent) ?? new Map();
  const after = new Map(keys.map((key) => [key, before.get(key) ?? make(key)]));
  for (const [key, made] of before) if (!after.has(key)) made.root.remove();
  let place = parent.firstChild;
  for (const { root } of after.values()) {
    if (root === place) place = place.nextSibling;
    else parent.insertBefore(root, place);
  }
  children.set(parent, after);
  return after;
}

function badge(node, text, mood) {
  say(node, text);
  set(node, "class", `badge ${mood}`);
}

function figures(list, named) {
  const made = each(list, Object.keys(named), (name) => {
    const value = element("dd");
    return { root: element("div", {}, element("dt", {}, name), value), value };
  });
  for (const [name, text] of Object.entries(named)) say(made.get(name).value, text);
}

function graph(title) {
  const most = element("span", { class: "most" });
  const area = document.createElementNS(SVG, "path");
  const line = document.createElementNS(SVG, "path");
  const svg = document.createElementNS(SVG, "svg");
  set(svg, "viewBox", "0 0 300 60");
  set(svg, "preserveAspectRatio", "none");
  set(svg, "role", "img");
  set(svg, "aria-label", `${title}: no history yet`);
  set(area, "class", "area");
  set(line, "class", "line");
  svg.append(area, line);
  const from = element("span", {}, "");
  const axis = element("div", { class: "axis", "aria-hidden": "true" }, from,
                       element("span", {}, "now"));
  const caption = element("figcaption", {}, `${title} `, most);
  return { root: element("figure", {}, caption, svg, axis), title, svg, area, line, most, from };
}

function draw(made, values, ages, longest) {
  const span = Math.min(longest, Math.max(60, ages[0] ?? 0)); // so that a short history fills the graph
  const known = values.filter((value) => value !== null);
  const top = Math.max(0, ...known);
  const last = known.length ? `, ${amount(values.at(-1))} now` : "";
  const minutes = duration(span);
  say(made.most, known.length ? `at most ${amount(top)}` : "no history yet");
  say(made.from, `${minutes} ago`);
  set(made.svg, "aria-label",
      known.length ? `${made.title} in the last ${minutes}: at most ${amount(top)}${last}`
                   : `${made.title}: no history yet`);
  let line = "";
  let area = "";
  let begun = null; // where the current stretch without a gap begins
  let x = 0;
  const close = () => {
    if (begun !== null) area += `L${x} 59L${begun} 59Z`;
    begun = null;
  };
  values.forEach((value, index) => {
    if (value === null) return close();
    x = (300 * (1 - ages[index] / span)).toFixed(1);
    const y = (59 - 56 * (top ? value / top : 0)).toFixed(1);
    line += begun === null ? `M${x} ${y}h.1` : `L${x} ${y}`; // shows a single point as a dot
    area += `${begun === null ? "M" : "L"}${x} ${y}`;
    begun ??= x;
  });
  close();
  set(made.line, "d", line);
  set(made.area, "d", area);
}

function table(name) {
  const head = COLUMNS.map((title) => element("th", { scope: "col", role: "columnheader" }, title));
  const body = element("tbody", { role: "rowgroup" });
  const root = element("table", { role: "table", class: "workers" },
    element("caption", { class: "hidden" }, `Workers of ${name}`),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)), body);
  return { root, body };
}

function row() {
  const cells = COLUMNS.map((title, index) => index
    ? element("td", { role: "cell", "data-label": title })
    : element("th", { scope: "row", role: "rowheader" }));
  const state = element("span");
  const complaint = element("span", { class: "complaint" });
  cells[1].append(state, complaint);
  return { root: element("tr", { role: "row" }, ...cells), cells, state, complaint };
}

function card(name) {
  const title = element("h2", { id: `consumer-${name}` }, name);
  const state = element("span");
  const handler = element("code");
  const list = element("dl", { class: "figures", "aria-label": `${name} as a whole` });
  const rate = graph("Records a second");
  const lag = graph("Lag");
  const workers = table(name);
  const root = element("section", { class: "card", "aria-labelledby": title.id },
    element("div", { class: "title" }, title, state, handler), list,
    element("div", { class: "graphs" }, rate.root, lag.root), workers.root);
  return { root, state, handler, list, rate, lag, body: workers.body };
}

// The content

function show(status) {
  const consumers = Object.entries(status.consumers);
  const slots = consumers.flatMap(([, consumer]) => consumer.slots);
  const up = slots.filter((slot) => UP.has(slot.state)).length;
  say(page.instance, status.instance_id);
  document.title = `${up}/${slots.length} ready · ${status.instance_id}`;
  const sum = (key) => consumers.reduce((total, [, consumer]) => total + consumer[key], 0);
  const reload = showReload(status.last_reload, status.time);
  const unknown = consumers.some(([, consumer]) => consumer.lag === null);
  figures(page.summary, {
    State: fleetState(status),
    "Workers ready": `${up} of ${slots.length}`,
    "Records/s": amount(sum("records_per_second")),
    Lag: unknown ? "unknown" : amount(sum("lag")),
    Restarts: amount(sum("restarts")),
    Uptime: duration(status.uptime_seconds),
  });
  const cards = each(page.consumers, consumers.map(([name]) => name), card);
  for (const [name, consumer] of consumers) showConsumer(cards.get(name), consumer);
  showFailures(status.failures.slice(0, SHOWN_FAILURES), status.time);
  const changes = [reload, newStates(consumers)].filter(Boolean).join(", ");
  if (changes) announce(changes);
}

function fleetState({ state, ready, changing }) {
  if (state !== "running") return words(state);
  return (ready ? state : "not ready") + (changing ? ", changing" : "");
}

function showReload({ successful, at, error }, now) {
  const changed = page.reload.hidden !== successful;
  page.reload.hidden = successful;
  if (!successful) {
    const when = duration(Math.max(0, now - at));
    say(page.reload, `The last reload was refused ${when} ago; nothing was changed: ${error}`);
  }
  return changed && `A reload was ${successful ? "accepted" : "refused"}`;
}

function showConsumer(made, consumer) {
  const paused = consumer.slots.length > 0 && consumer.slots.every((slot) => slot.paused);
  const state = consumer.failed ? "failed" : consumer.ready ? "ready" : "not ready";
  badge(made.state, state + (paused ? ", paused" : ""),
        consumer.ready ? (paused ? "busy" : "good") : "bad");
  say(made.handler, consumer.handler);
  figures(made.list, {
    "Records/s": amount(consumer.records_per_second),
    Lag: consumer.lag === null ? "unknown" : amount(consumer.lag),
    "In flight": amount(consumer.in_flight),
    Waiting: amount(consumer.buffered),
    Processed: amount(consumer.processed),
    Restarts: reasons(consumer.restarts, consumer.restarts_by_reason),
  });
  const rows = each(made.body, consumer.slots.map((slot) => slot.slot), row);
  for (const slot of consumer.slots) showSlot(rows.get(slot.slot), slot);
}

function showSlot({ cells, state, complaint }, slot) {
  const [worker, , since, ...others] = cells;
  say(worker, slot.slot);
  const paused = slot.paused && UP.has(slot.state);
  badge(state, words(slot.state) + (paused ? ", paused" : ""),
        paused ? "busy" : MOODS[slot.state] ?? "calm");
  say(complaint, slot.complaint ?? "");
  say(since, duration(slot.state_seconds));
  const long = slot.oldest_handler_seconds >= 5 ? `, ${duration(slot.oldest_handler_seconds)}` : "";
  [
    slot.pid ?? "–",
    partitions(slot.partitions),
    amount(slot.in_flight) + long,
    amount(slot.lag),
    amount(slot.records_per_second),
    memory(slot.resident_bytes),
    reasons(slot.restarts, slot.restarts_by_reason),
  ].forEach((text, index) => say(others[index], text));
}

function showFailures(failures, now) {
  page.failures.hidden = failures.length === 0;
  const key = (failure) => `${failure.at} ${failure.consumer}/${failure.slot}`;
  const rows = each(page.failures.querySelector("tbody"), failures.map(key), () => {
    const time = element("time");
    const cells = ["Reason", "What happened", "What followed"].map((title) =>
      element("td", { role: "cell", "data-label": title }));
    const worker = element("th", { scope: "row", role: "rowheader" });
    const when = element("td", { role: "cell", "data-label": "When" }, time);
    cells[1].className = "message";
    cells[2].className = "wide";
    return { root: element("tr", { role: "row" }, when, worker, ...cells), time, worker, cells };
  });
  for (const failure of failures) {
    const { time, worker, cells } = rows.get(key(failure));
    const at = new Date(failure.at * 1000);
    set(time, "datetime", at.toISOString());
    set(time, "title", at.toLocaleString());
    say(time, `${duration(Math.max(0, now - failure.at))} ago`);
    say(worker, `${failure.consumer}/${failure.slot}`);
    [words(failure.reason), failure.message, failure.consequence].forEach(
      (text, index) => say(cells[index], text));
  }
}

function showHistory(history) {
  for (const [name, made] of children.get(page.consumers) ?? []) {
    const seen = history.consumers[name] ?? { records_per_second: [], lag: [] };
    draw(made.rate, seen.records_per_second, history.age_seconds, history.span_seconds);
    draw(made.lag, seen.lag, history.age_seconds, history.span_seconds);
  }
}

// Returns the changes of states, for screen readers. Numbers change too often to be read out.
let states = null;
function newStates(consumers) {
  const now = new Map();
  for (const [name, consumer] of consumers)
    for (const slot of consumer.slots)
      now.set(`${name} worker ${slot.slot}`, UP.has(slot.state) ? (slot.paused ? "paused" : "ready") : words(slot.state));
  const before = states ?? now;
  states = now;
  const changed = [...now].filter(([worker, state]) => before.get(worker) !== state);
  if (changed.length > 4) return `${changed.length} workers changed their state`;
  return changed.map((change) => change.join(": ")).join(", ");
}

function announce(text) {
  say(page.announcements, text);
}

// The connection

let misses = 0;
let lost = null; // when the first request without an answer was sent
let historyDue = 0;
let timer = 0;
let asking = false;

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function turn() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  let status = null;
  let history = null;
  try {
    status = await ask("status");
    if (performance.now() >= historyDue) history = await ask("history");
  } catch {
    status = null;
  }
  asking = false;
  const wait = status === null ? miss() : POLL;
  if (!document.hidden) timer = setTimeout(turn, wait);
  if (status === null) return;
  hit();
  show(status);
  if (history !== null) {
    historyDue = performance.now() + history.interval_seconds * 1000;
    showHistory(history);
  }
}

function hit() {
  if (misses > 1) announce("The supervisor answers again");
  misses = 0;
  lost = null;
  badge(page.connection, "Live", "good");
}

// A single miss does not count: a connection may be closed just when it is used.
function miss() {
  misses += 1;
  lost ??= new Date();
  const wait = Math.min(SLOWEST, POLL * 2 ** (misses - 1));
  if (misses > 1) {
    const since = lost.toLocaleTimeString();
    badge(page.connection, `The supervisor does not answer since ${since}; this page shows its ` +
          `state at that time. It is asked again every ${Math.round(wait / 1000)} s.`, "bad");
    document.title = "No answer · FlowODM Supervisor";
  }
  if (misses === 2) announce("The supervisor does not answer");
  return wait;
}

document.addEventListener("visibilitychange", turn);
turn();
