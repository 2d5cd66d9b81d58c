// The live page: polls the exporter, and shows the pools that match the filter.

import * as cards from "./card.js";
import { formatAge, formatCount, plural, setText } from "./format.js";
import * as serverCards from "./servers.js";

const POLL_INTERVAL_MS = 2000;
const REQUEST_TIMEOUT_MS = 10000;

const byId = (id) => document.getElementById(id);
const filter = byId("filter");
const sort = byId("sort");
const poolEntries = new Map();
const serverEntries = new Map();
let latest = null;
let answeredAt = null;
let timer = null;

const SORT_KEYS = {
  fullest: (pool) => [pool.live ? 0 : 1, -cards.recentUtilization(pool), pool.waiting_peak ? 0 : 1],
  waiting: (pool) => [pool.live ? 0 : 1, -pool.waiting, -pool.waiting_peak],
  oldest: (pool) => [pool.live ? 0 : 1, -pool.oldest_hold_seconds],
  name: () => [],
};

function sortPools(pools) {
  const order = SORT_KEYS[sort.value];
  return pools
    .map((pool) => [[...order(pool), pool.pool, pool.kind], pool])
    .sort(([one], [other]) => {
      const place = one.findIndex((value, i) => value !== other[i]);
      return place < 0 ? 0 : one[place] < other[place] ? -1 : 1;
    })
    .map(([, pool]) => pool);
}

// Returns the holders that match the filter, or null if nothing of the pool matches it.
function matchingHolders(pool, word) {
  const has = (...texts) => texts.some((text) => String(text ?? "").toLowerCase().includes(word));
  const named = has(pool.pool, pool.kind)
    || pool.findings.some((finding) => has(finding.rule, ...finding.sites));
  if (!word || named) return pool.holders;
  const holders = pool.holders.filter((holder) => has(holder.site, holder.owner, holder.pid));
  return holders.length || pool.processes.some((process) => has(process.pid)) ? holders : null;
}

// Keeps existing cards, so that details stay open and focus stays; changes order and content only.
function updateCards(place, cardsByKey, entries, { make, update }) {
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
    if (!hasSelection(entry.card)) update(entry, ...what);
    const current = place.children[index] ?? null;
    if (current !== entry.card) place.insertBefore(entry.card, current);
  });
}

// A card with a selection is not updated, so that its text can be copied.
function hasSelection(card) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(card, true);
}

function render() {
  if (!latest) return;
  const word = filter.value.trim().toLowerCase();
  const entries = sortPools(latest.pools)
    .map((pool) => [JSON.stringify([pool.pool, pool.kind]), pool, matchingHolders(pool, word)])
    .filter(([, , holders]) => holders !== null);
  updateCards(byId("pools"), poolEntries, entries, cards);
  const nothing = byId("nothing");
  nothing.hidden = entries.length > 0;
  setText(nothing, latest.pools.length ? `Nothing matches \u201c${filter.value}\u201d.` : EMPTY_TEXT);
  const servers = latest.servers.map((server) => [`${server.kind} ${server.server}`, server]);
  byId("servers").hidden = !servers.length;
  updateCards(byId("servers").querySelector("div"), serverEntries, servers, serverCards);
  summarize();
}

const EMPTY_TEXT =
  "No process has written a pool to the folder yet: set POOLSCOPE_DIR to it, and watch a pool.";

function summarize() {
  const live = latest.pools.filter((pool) => pool.live);
  const total = (field) => live.reduce((sum, pool) => sum + pool[field], 0);
  const full = live.filter((pool) => cards.utilization(pool) >= 1).length;
  const leaked = total("overdue") + total("abandoned");
  const parts = [
    `${plural(live.length, "pool")} in ${plural(latest.processes.live, "process", "processes")}`,
    full ? `${formatCount(full)} full` : "none full",
    total("waiting") ? `${formatCount(total("waiting"))} waiting` : "no callers waiting",
  ];
  if (leaked) parts.push(`${formatCount(leaked)} overdue or abandoned`);
  if (latest.bad_segments) parts.push(plural(latest.bad_segments, "bad file"));
  setText(byId("summary"), parts.join(" \u00b7 "));
  document.title = full ? `(${full} full) Pools` : "Pools";
}

function showFreshness() {
  if (answeredAt === null) return;
  const seconds = (Date.now() - answeredAt) / 1000;
  const late = seconds > 3 * (POLL_INTERVAL_MS / 1000);
  setText(byId("fresh"), late ? `updated ${formatAge(Math.floor(seconds))} ago` : "live");
  byId("trouble").hidden = !late;
  if (late) setText(byId("trouble"),
    `The exporter does not answer; these numbers are ${formatAge(seconds)} old.`);
}

async function fetchPools() {
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const response = await fetch("/api/v1/pools", { signal });
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

async function poll() {
  clearTimeout(timer);
  try {
    latest = await fetchPools();
    answeredAt = Date.now();
  } catch (error) {
    if (answeredAt === null) {
      byId("trouble").hidden = false;
      setText(byId("trouble"), `The exporter does not answer: ${error.message}`);
    }
  }
  if (!document.hidden) timer = setTimeout(poll, POLL_INTERVAL_MS);
  render();
  showFreshness();
}

function saveSettings() {
  const query = new URLSearchParams();
  if (filter.value) query.set("q", filter.value);
  if (sort.value !== "fullest") query.set("sort", sort.value);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  render();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function toggleTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (document.documentElement.dataset.theme ?? dark) === "dark" ? "light" : "dark";
  setTheme(theme);
  localStorage.setItem("theme", theme);
}

const query = new URLSearchParams(location.search);
filter.value = query.get("q") ?? "";
if (query.get("sort") in SORT_KEYS) sort.value = query.get("sort");
setTheme(localStorage.getItem("theme"));
filter.addEventListener("input", saveSettings);
sort.addEventListener("input", saveSettings);
byId("theme").addEventListener("click", toggleTheme);
document.addEventListener("visibilitychange", () => document.hidden || poll());
setInterval(showFreshness, 1000);
poll();
