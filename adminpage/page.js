"use strict";
// All names and payloads come from elsewhere: they become text, never markup.

const every = 2000; // milliseconds between two looks, while the page is seen
const kept = 150; // looks in the chart: five minutes
const shown = 200; // events of the stream by hand; older ones go

const at = (id) => document.getElementById(id);

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const count = (n) => Number(n).toLocaleString("en");
const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(Math.round(n)));

function size(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i ? n.toFixed(1) : n) + " " + units[i];
}

function span(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  for (const [unit, n] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * n) return Math.floor(seconds / n) + " " + unit;
  }
  return seconds + " s";
}

// since is how long ago a time was by the gateway's clock, which may not be this one's.
const since = (time, now) => span((Date.parse(now) - Date.parse(time)) / 1000);

// The words of a hub's state, and how bad it is.
function stateOf(hub) {
  if (hub.draining) return ["warn", "draining: no configuration has it any more"];
  if (!hub.connected) return ["bad", "not connected"];
  if (!hub.proved) return ["warn", "connected, delivery is not proved"];
  return ["good", "connected, delivery is proved"];
}

function hubCard(hub, now) {
  const [grade, words] = stateOf(hub);
  const card = make("article", undefined, "hub-card " + grade);
  const state = make("p", words, "state");
  if (hub.since) state.append(make("span", " for " + since(hub.since, now), "faint"));
  card.append(make("h3", hub.name), state, make("p", hub.redis + ", " + hub.role.replace("_", " "), "faint"));
  if (hub.last_error) {
    const error = make("p", "last error: " + hub.last_error.text, hub.connected ? "faint" : "error");
    error.append(make("span", " (" + since(hub.last_error.at, now) + " ago)", "faint"));
    card.append(error);
  }
  const facts = make("dl");
  const breaker = hub.breaker.state + (hub.breaker.until ? ", " + since(now, hub.breaker.until) + " at most" : "");
  for (const [name, value] of [
    ["Streams", count(hub.streams)],
    ["Channels", count(hub.channels) + " of " + count(hub.buffer.channels_limit)],
    ["Subscriptions", count(hub.subscriptions) + (hub.refused ? ", " + count(hub.refused) + " refused" : "")],
    ["Buffered", count(hub.buffer.messages)],
    ["Gaps written", count(hub.gaps)],
    ["Publishing", "breaker " + breaker],
    ["Buffer", size(hub.buffer.bytes) + " of " + size(hub.buffer.bytes_limit)],
  ]) facts.append(make("dt", name), make("dd", value));
  const used = make("progress");
  used.max = hub.buffer.bytes_limit;
  used.value = hub.buffer.bytes;
  used.setAttribute("aria-label", "Buffer in use");
  card.append(facts, used);
  return card;
}

function cell(row, text, className) {
  row.append(make("td", text, className));
}

function channelRow(channel, hub, now) {
  const row = make("tr");
  const name = make("td", undefined, "name");
  if (hub.admin_page) {
    const read = make("button", channel.name);
    read.type = "button";
    read.title = "Read it";
    read.addEventListener("click", () => readByHand(hub.name, channel));
    name.append(read);
  } else {
    name.textContent = channel.name;
  }
  if (channel.pattern) name.append(" (pattern)");
  row.append(name);
  cell(row, hub.name);
  cell(row, channel.state + (channel.lingers ? ", lingers" : ""));
  cell(row, count(channel.streams), "n");
  cell(row, rate(channel.rate) + "/s", "n");
  cell(row, count(channel.messages), "n");
  cell(row, size(channel.bytes), "n");
  cell(row, channel.newest_at ? since(channel.newest_at, now) + " ago" : "");
  return row;
}

function routeRow(route, hub) {
  const row = make("tr");
  cell(row, route.route, "name");
  cell(row, hub);
  cell(row, count(route.streams), "n");
  cell(row, count(route.behind), "n");
  return row;
}

// options has a select offer these, and keeps what is chosen.
function options(select, names) {
  if ([...select.options].map((o) => o.value).join("\n") === names.map((n) => n[0]).join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...names.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
  if (names.some((n) => n[0] === chosen)) select.value = chosen;
}

// The chart. Each look is {at, hubs: {name: {received, sent, gaps}}}.
let looks = [];

function look(status) {
  const hubs = {};
  for (const hub of status.hubs) hubs[hub.name] = { received: hub.received_messages, sent: hub.sent_events, gaps: hub.gaps };
  looks.push({ at: Date.parse(status.now), started: Date.parse(status.now) - status.uptime_seconds * 1000, hubs });
  looks = looks.slice(-kept - 1);
}

// steps are the changes between looks: a process that is another one begins at zero.
function steps(name) {
  const sum = (look, what) => Object.entries(look.hubs).reduce((n, [hub, h]) => (name === "" || hub === name ? n + h[what] : n), 0);
  const all = [];
  for (let i = 1; i < looks.length; i++) {
    const [a, b] = [looks[i - 1], looks[i]];
    const seconds = (b.at - a.at) / 1000;
    if (seconds <= 0 || Math.abs(a.started - b.started) > 5000) continue;
    const change = (what) => Math.max(0, sum(b, what) - sum(a, what));
    all.push({ received: change("received") / seconds, sent: change("sent") / seconds, gaps: change("gaps") });
  }
  return all;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function draw() {
  const all = steps(at("chart-hub").value);
  const most = Math.max(1, ...all.map((s) => Math.max(s.received, s.sent)));
  const x = (i) => 600 - ((all.length - 1 - i) * 600) / (kept - 1);
  const line = (what) => svg("polyline", { class: what, points: all.map((s, i) => x(i) + "," + (156 - (150 * s[what]) / most)).join(" ") });
  const mostGaps = Math.max(1, ...all.map((s) => s.gaps));
  const bars = all.flatMap((s, i) => (s.gaps ? [svg("rect", { x: x(i) - 1.5, width: 3, y: 160 - 20 - (40 * s.gaps) / mostGaps, height: 20 + (40 * s.gaps) / mostGaps })] : []));
  at("chart").replaceChildren(...bars, line("received"), line("sent"));
  at("chart-top").textContent = all.length ? "highest " + rate(most) + "/s" : "";
  const last = all.at(-1) || { received: 0, sent: 0 };
  at("now-received").textContent = rate(last.received);
  at("now-sent").textContent = rate(last.sent);
  at("now-gaps").textContent = count(all.reduce((n, s) => n + s.gaps, 0));
}

function show(status) {
  at("about").textContent = status.version + " in Caddy " + status.caddy_version + ", up for " + span(status.uptime_seconds);
  at("hubs").replaceChildren(...status.hubs.map((hub) => hubCard(hub, status.now)));
  const names = status.hubs.map((hub) => [hub.name, hub.name]);
  options(at("chart-hub"), [["", "all"], ...names]);
  const open = status.hubs.filter((hub) => hub.admin_page).map((hub) => [hub.name, hub.name]);
  document.querySelectorAll("select.hub").forEach((select) => options(select, open));
  const rows = status.hubs.flatMap((hub) => hub.busiest.map((channel) => [channel, hub]));
  const by = status.by;
  rows.sort(([a], [b]) => b[by] - a[by]);
  const focused = at("channels").contains(document.activeElement) ? document.activeElement.textContent : undefined;
  at("channels").replaceChildren(...rows.map(([channel, hub]) => channelRow(channel, hub, status.now)));
  if (focused) [...at("channels").querySelectorAll("button")].find((b) => b.textContent === focused)?.focus();
  at("routes").replaceChildren(...status.hubs.flatMap((hub) => hub.routes.map((route) => routeRow(route, hub.name))));
  look(status);
  draw();
}

// told is what an answer that is none says of itself.
async function told(response) {
  const text = await response.text();
  try {
    const answer = JSON.parse(text);
    return answer.error || answer.reason || text;
  } catch {
    return text || "status " + response.status;
  }
}

let timer;

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const response = await fetch("status?" + new URLSearchParams({ by: at("by").value, top: at("top").value }), { signal: AbortSignal.timeout(10000) });
    if (!response.ok) throw new Error(await told(response));
    const status = await response.json();
    show(status);
    if (looks.length === 1) linked(status);
    at("trouble").textContent = "";
  } catch (error) {
    at("trouble").textContent = "No status: " + error.message;
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, every);
}

// The stream by hand.
let source;

function closeStream(words) {
  if (source) source.close();
  source = undefined;
  at("close").disabled = true;
  at("stream-state").textContent = words;
}

function addEvent(event) {
  const item = make("li", undefined, event.type === "gap" ? "gap" : "");
  item.append(make("span", new Date().toLocaleTimeString("en-GB") + " " + (event.type === "message" ? "" : event.type + " ") + event.lastEventId, "id"), make("pre", event.data));
  const list = at("events");
  list.prepend(item);
  while (list.children.length > shown) list.lastChild.remove();
}

function openStream(event) {
  event.preventDefault();
  closeStream("opens");
  const form = at("stream").elements;
  const query = new URLSearchParams(form.from.value);
  query.set("hub", form.hub.value);
  query.set(form.pattern.checked ? "pattern" : "channel", form.channel.value);
  const url = "stream?" + query;
  at("events").replaceChildren();
  at("close").disabled = false;
  const mine = new EventSource(url);
  source = mine;
  mine.addEventListener("open", () => { at("stream-state").textContent = "open"; });
  mine.addEventListener("message", addEvent);
  mine.addEventListener("gap", addEvent);
  mine.addEventListener("error", async () => {
    if (mine.readyState !== EventSource.CLOSED) {
      at("stream-state").textContent = "lost, it comes back by itself";
      return;
    }
    const why = await reason(url);
    if (source === mine) closeStream("closed: " + why);
  });
}

// reason asks once more for what an EventSource does not tell.
async function reason(url) {
  const abort = new AbortController();
  try {
    const response = await fetch(url, { signal: abort.signal });
    return response.ok ? "it was cut" : await told(response);
  } catch (error) {
    return error.message;
  } finally {
    abort.abort();
  }
}

function readByHand(hub, channel) {
  const form = at("stream").elements;
  form.hub.value = hub;
  form.channel.value = channel.name;
  form.pattern.checked = channel.pattern;
  at("stream").requestSubmit();
  at("stream-title").scrollIntoView({ block: "start" });
}

async function publish(event) {
  event.preventDefault();
  const form = at("publish").elements;
  const said = at("published");
  said.className = "";
  said.textContent = "is under way";
  try {
    const query = new URLSearchParams({ hub: form.hub.value, channel: form.channel.value });
    const response = await fetch("publish?" + query, { method: "POST", body: form.message.value, headers: { "Content-Type": "application/octet-stream" } });
    if (!response.ok) throw new Error(await told(response));
    const answer = await response.json();
    said.textContent = "published, subscribed to it at Redis: " + count(answer.receivers);
  } catch (error) {
    said.className = "bad";
    said.textContent = "not published: " + error.message;
  }
}

// linked opens the stream that the address asks for: #channel=<name> or #pattern=<pattern>, and &hub=<name>.
function linked(status) {
  const asked = new URLSearchParams(location.hash.slice(1));
  const hub = status.hubs.find((h) => h.admin_page && (h.name === asked.get("hub") || !asked.has("hub")));
  if (!hub || !(asked.get("channel") || asked.get("pattern"))) return;
  readByHand(hub.name, { name: asked.get("channel") || asked.get("pattern"), pattern: !asked.get("channel") });
}

at("stream").addEventListener("submit", openStream);
at("close").addEventListener("click", () => closeStream("closed"));
at("publish").addEventListener("submit", publish);
at("by").addEventListener("change", refresh);
at("top").addEventListener("change", refresh);
at("chart-hub").addEventListener("change", draw);
document.addEventListener("visibilitychange", refresh);
refresh();
