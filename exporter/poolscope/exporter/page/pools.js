// The live page: asks for all pools again and again, and shows those that are wanted.

import * as cards from "./card.js";
import { age, count, plural, say } from "./format.js";
import * as serverCards from "./servers.js";

const EVERY = 2000;
const PATIENCE = 10000;

const at = (id) => document.getElementById(id);
const filter = at("filter");
const sort = at("sort");
const shown = new Map();
const shownServers = new Map();
let latest = null;
let answered = null;
let timer = null;

const ORDERS = {
  fullest: (pool) => [pool.live ? 0 : 1, -cards.recentFullness(pool), pool.waiting_peak ? 0 : 1],
  waiting: (pool) => [pool.live ? 0 : 1, -pool.waiting, -pool.waiting_peak],
  oldest: (pool) => [pool.live ? 0 : 1, -pool.oldest_hold_seconds],
  name: () => [],
};

function inOrder(pools) {
  const order = ORDERS[sort.value];
  return pools
    .map((pool) => [[...order(pool), pool.pool, pool.kind], pool])
    .sort(([one], [other]) => {
      const place = one.findIndex((value, i) => value !== other[i]);
      return place < 0 ? 0 : one[place] < other[place] ? -1 : 1;
    })
    .map(([, pool]) => pool);
}

// The holders that are wanted, or null if nothing of the pool is.
function wanted(pool, word) {
  const has = (...texts) => texts.some((text) => String(text ?? "").toLowerCase().includes(word));
  const named = has(pool.pool, pool.kind)
    || pool.findings.some((finding) => has(finding.rule, ...finding.sites));
  if (!word || named) return pool.holders;
  const holders = pool.holders.filter((holder) => has(holder.site, holder.owner, holder.pid));
  return holders.length || pool.processes.some((process) => has(process.pid)) ? holders : null;
}

// Cards stay, with what is open or focused in them; only their order and content change.
function arrange(place, cardsByKey, entries, { make, update }) {
  const keys = new Set(entries.map(([key]) => key));
  for (const [key, entry] of cardsByKey) {
    if (!keys.has(key)) {
      entry.card.remove();
      cardsByKey.delete(key);
    }
  }
  entries.forEach(([key, ...what], index) => {
    let entry = cardsByKey.get(key);
    if (!entry) cardsByKey.set(key, (entry = make()));
    if (!selectedIn(entry.card)) update(entry, ...what);
    if (place.children[index] !== entry.card) place.insertBefore(entry.card, place.children[index] ?? null);
  });
}

// Nobody can copy a line that is replaced under their hands.
function selectedIn(card) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(card, true);
}

function show() {
  if (!latest) return;
  const word = filter.value.trim().toLowerCase();
  const entries = inOrder(latest.pools)
    .map((pool) => [JSON.stringify([pool.pool, pool.kind]), pool, wanted(pool, word)])
    .filter(([, , holders]) => holders !== null);
  arrange(at("pools"), shown, entries, cards);
  const nothing = at("nothing");
  nothing.hidden = entries.length > 0;
  say(nothing, latest.pools.length ? `Nothing matches \u201c${filter.value}\u201d.` : EMPTY);
  const servers = latest.servers.map((server) => [`${server.kind} ${server.server}`, server]);
  at("servers").hidden = !servers.length;
  arrange(at("servers").querySelector("div"), shownServers, servers, serverCards);
  summarize();
}

const EMPTY = "No process has put a pool into the folder yet: set POOLSCOPE_DIR to it, and watch one.";

function summarize() {
  const live = latest.pools.filter((pool) => pool.live);
  const total = (field) => live.reduce((sum, pool) => sum + pool[field], 0);
  const full = live.filter((pool) => cards.fullness(pool) >= 1).length;
  const leaked = total("overdue") + total("abandoned");
  const parts = [
    `${plural(live.length, "pool")} in ${plural(latest.processes.live, "process", "processes")}`,
    full ? `${count(full)} full` : "none is full",
    total("waiting") ? `${count(total("waiting"))} waiting` : "nobody waits",
  ];
  if (leaked) parts.push(`${count(leaked)} overdue or abandoned`);
  if (latest.bad_segments) parts.push(plural(latest.bad_segments, "bad file"));
  say(at("summary"), parts.join(" \u00b7 "));
  document.title = full ? `(${full} full) Pools` : "Pools";
}

function clock() {
  if (answered === null) return;
  const seconds = (Date.now() - answered) / 1000;
  const late = seconds > 3 * (EVERY / 1000);
  say(at("fresh"), late ? `updated ${age(Math.floor(seconds))} ago` : "live");
  at("trouble").hidden = !late;
  if (late) say(at("trouble"), `The exporter does not answer; these numbers are ${age(seconds)} old.`);
}

async function ask() {
  clearTimeout(timer);
  try {
    const response = await fetch("/api/v1/pools", { signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(response.statusText);
    latest = await response.json();
    answered = Date.now();
    show();
  } catch (error) {
    if (answered === null) {
      at("trouble").hidden = false;
      say(at("trouble"), `The exporter does not answer: ${error.message}`);
    }
  }
  clock();
  if (!document.hidden) timer = setTimeout(ask, EVERY);
}

function remember() {
  const query = new URLSearchParams();
  if (filter.value) query.set("q", filter.value);
  if (sort.value !== "fullest") query.set("sort", sort.value);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  show();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function otherTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (document.documentElement.dataset.theme ?? dark) === "dark" ? "light" : "dark";
  setTheme(theme);
  localStorage.setItem("theme", theme);
}

const query = new URLSearchParams(location.search);
filter.value = query.get("q") ?? "";
if (query.get("sort") in ORDERS) sort.value = query.get("sort");
setTheme(localStorage.getItem("theme"));
filter.addEventListener("input", remember);
sort.addEventListener("input", remember);
at("theme").addEventListener("click", otherTheme);
document.addEventListener("visibilitychange", () => document.hidden || ask());
setInterval(clock, 1000);
ask();
