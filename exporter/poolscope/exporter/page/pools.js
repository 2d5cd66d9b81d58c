// The live page: polls the exporter, and shows the pools that match the filter.

import * as cards from "./card.js";
import { compareTexts, formatAge, formatCount, makeElement, plural, setText } from "./format.js";
import * as serverCards from "./servers.js";

const POLL_INTERVAL_MS = 2000;
const REQUEST_TIMEOUT_MS = 10000;
const LATE_SECONDS = 3 * (POLL_INTERVAL_MS / 1000);

const byId = (id) => document.getElementById(id);
const filter = byId("filter");
const sort = byId("sort");
const group = byId("group");
const poolEntries = new Map();
const serverEntries = new Map();
let latest = null;
let answeredAt = null;
let failure = null;
let timer = null;
let polls = 0;

// Maps, as any text may come from the address: an object would have "constructor" in it.
const SORT_KEYS = new Map([
  ["fullest", (pool) => [-cards.recentUtilization(pool), pool.waiting_peak ? 0 : 1]],
  ["waiting", (pool) => [-pool.waiting, -pool.waiting_peak]],
  ["oldest", (pool) => [-pool.oldest_hold_seconds]],
  ["name", null],
]);
const DEFAULT_SORT = "fullest";
const DEFAULT_GROUP = "line";

function sortPools(pools) {
  const key = SORT_KEYS.get(sort.value);
  const numbers = new Map(pools.map((pool) => [pool, key ? [pool.live ? 0 : 1, ...key(pool)] : []]));
  return [...pools].sort((one, other) =>
    numbers.get(one).reduce((found, number, at) => found || number - numbers.get(other)[at], 0)
      || compareTexts(one.pool, other.pool) || compareTexts(one.kind, other.kind));
}

// Returns the holders that match the filter, or null if nothing of the pool matches it.
function matchingHolders(pool, word) {
  const has = (...texts) => texts.some((text) => String(text ?? "").toLowerCase().includes(word));
  const named = has(pool.pool, pool.kind)
    || pool.findings.some((finding) => has(finding.rule, ...finding.sites));
  if (!word || named) return pool.holders;
  const holders = pool.holders.filter((holder) => 
    has(holder.site, holder.operation, holder.now_at, holder.owner, holder.pid));
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
    .map((pool) => [
      JSON.stringify([pool.pool, pool.kind]), pool, matchingHolders(pool, word), group.value,
    ])
    .filter(([, , holders]) => holders !== null);
  updateCards(byId("pools"), poolEntries, entries, cards);
  const nothing = byId("nothing");
  nothing.hidden = entries.length > 0;
  if (latest.pools.length) {
    const shown = makeElement("bdi", { text: filter.value });
    nothing.replaceChildren("Nothing matches \u201c", shown, "\u201d.");
  } else setText(nothing, EMPTY_TEXT);
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
  const parts = [
    `${plural(live.length, "pool")} in ${plural(latest.processes.live, "process", "processes")}`,
    full ? `${formatCount(full)} full` : "none full",
    total("waiting") ? `${formatCount(total("waiting"))} waiting` : "no callers waiting",
  ];
  // A connection may be both, so they are not added up.
  for (const leak of ["overdue", "abandoned"]) {
    if (total(leak)) parts.push(`${formatCount(total(leak))} ${leak}`);
  }
  if (latest.bad_segments) parts.push(plural(latest.bad_segments, "bad file"));
  setText(byId("summary"), parts.join(" \u00b7 "));
  document.title = full ? `(${full} full) Pools` : "Pools";
}

function showFreshness() {
  const seconds = answeredAt === null ? 0 : (Date.now() - answeredAt) / 1000;
  const late = seconds > LATE_SECONDS;
  if (answeredAt !== null) {
    setText(byId("fresh"), late ? `updated ${formatAge(Math.floor(seconds))} ago` : "live");
  }
  const trouble = byId("trouble");
  trouble.hidden = !late && (failure === null || (answeredAt !== null && !failure.ours));
  if (trouble.hidden) return;
  const what = failure?.message ?? "The exporter does not answer";
  setText(trouble, late ? `${what}; these numbers are ${formatAge(seconds)} old.` : `${what}.`);
}

// The message says what failed, without a full stop; `ours` is whether this page is to blame.
class Failure extends Error {
  constructor(message, ours = false) {
    super(message);
    this.ours = ours;
  }
}

async function fetchPools() {
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  let response, text;
  try {
    // Relative, as a proxy may serve this page under any path.
    response = await fetch("api/v1/pools", { signal });
    text = await response.text();
  } catch (error) {
    if (error.name !== "TimeoutError") throw new Failure("The exporter does not answer");
    throw new Failure(`The exporter has not answered within ${REQUEST_TIMEOUT_MS / 1000} s`);
  }
  if (!response.ok) {
    const status = `${response.status} ${response.statusText}`.trim();
    const cure = response.status === 401 ? "; load this page again to give a password" : "";
    throw new Failure(`The exporter answers ${status}${cure}`);
  }
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Failure("What answers is not the exporter: it sends no JSON");
  }
  if (!Array.isArray(answer?.pools)) {
    throw new Failure("What answers is not the exporter: its JSON has no pools");
  }
  return answer;
}

async function poll() {
  clearTimeout(timer);
  const number = ++polls;
  const before = latest;
  try {
    const answer = await fetchPools();
    if (number !== polls) return; // a later poll answers
    latest = answer;
    render();
    answeredAt = Date.now();
    failure = null;
  } catch (error) {
    if (number !== polls) return;
    latest = before;
    failure = error instanceof Failure ? error
      : new Failure(`This page cannot show the answer; load it again (${error.message})`, true);
  }
  if (!document.hidden) timer = setTimeout(poll, POLL_INTERVAL_MS);
  byId("stuck").hidden = true;
  showFreshness();
}

function saveSettings() {
  const query = new URLSearchParams();
  if (filter.value) query.set("q", filter.value);
  if (sort.value !== DEFAULT_SORT) query.set("sort", sort.value);
  if (group.value !== DEFAULT_GROUP) query.set("group", group.value);
  harmless(() => history.replaceState(null, "", query.size ? `?${query}` : location.pathname));
  render();
}

// Browsers may refuse to keep things, such as in a private window; the page does without.
function harmless(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

function setTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

function toggleTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (document.documentElement.dataset.theme ?? dark) === "dark" ? "light" : "dark";
  setTheme(theme);
  harmless(() => localStorage.setItem("theme", theme));
}

const query = new URLSearchParams(location.search);
filter.value = (query.get("q") ?? "").slice(0, filter.maxLength);
sort.value = SORT_KEYS.has(query.get("sort")) ? query.get("sort") : DEFAULT_SORT;
group.value = query.get("group") === "operation" ? "operation" : DEFAULT_GROUP;
setTheme(harmless(() => localStorage.getItem("theme")));
filter.addEventListener("input", saveSettings);
sort.addEventListener("input", saveSettings);
group.addEventListener("input", saveSettings);
byId("theme").addEventListener("click", toggleTheme);
document.addEventListener("visibilitychange", () => document.hidden || poll());
setInterval(showFreshness, 1000);
poll();
