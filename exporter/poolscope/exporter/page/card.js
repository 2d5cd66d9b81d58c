// The card of one pool.

import { age, count, element, fill, plural, say } from "./format.js";
import { draw } from "./trend.js";

const BUSY = 0.8;
const SHOWN_LINES = 20;
const SHOWN_HOLDERS = 3;
const LATELY = 60; // seconds

export function make() {
  const card = document.getElementById("pool").content.firstElementChild.cloneNode(true);
  return { card, at: (selector) => card.querySelector(selector) };
}

// 0 to 1: of all processes together, or of the fullest one.
export function fullness(pool) {
  const whole = pool.limit ? (pool.in_use + pool.opening) / pool.limit : 0;
  return Math.max(whole, pool.utilization_max);
}

// The same for the last minute, in steps, so that cards do not jump about.
export function recentFullness(pool) {
  const peak = pool.limit ? pool.in_use_peak / pool.limit : 0;
  return Math.round(10 * Math.max(fullness(pool), peak)) / 10;
}

// Sites are told from one another by their line; what has none is one of its own.
export function lines(holders) {
  const groups = new Map();
  for (const holder of holders) {
    const site = holder.site ?? "a line that is not known";
    const group = groups.get(site) ?? { site, holders: [], oldest: 0, overdue: 0, abandoned: 0 };
    group.holders.push(holder);
    group.oldest = Math.max(group.oldest, holder.held_seconds);
    group.overdue += holder.overdue;
    group.abandoned += holder.abandoned;
    groups.set(site, group);
  }
  return [...groups.values()].sort((one, other) => other.oldest - one.oldest);
}

function timedOutLately({ history }) {
  return history.timed_out.reduce(
    (sum, number, at) => (history.seconds_ago[at] <= LATELY ? sum + number : sum), 0);
}

// How bad it is, and in a few words why.
function state(pool) {
  const full = fullness(pool);
  if (!pool.live) return ["gone", "gone; its counters are kept"];
  if (pool.waiting && full >= 1) return ["bad", `full, ${count(pool.waiting)} waiting`];
  if (pool.abandoned) return ["bad", `${count(pool.abandoned)} abandoned`];
  if (pool.overdue) return ["warn", `${count(pool.overdue)} overdue`];
  if (pool.waiting) return ["warn", `${count(pool.waiting)} waiting`];
  if (full >= 1) {
    const whole = pool.limit && pool.in_use + pool.opening >= pool.limit;
    return ["warn", whole ? "full" : "one process is full"];
  }
  const timedOut = timedOutLately(pool);
  if (timedOut) return ["warn", `${count(timedOut)} timed out in the last minute`];
  if (full >= BUSY) return ["warn", `${Math.floor(100 * full)}% in use`];
  const serious = pool.findings.filter((finding) => finding.severity !== "info").length;
  if (serious) return ["warn", plural(serious, "finding")];
  return ["", "fine"];
}

export function update({ card, at }, pool, holders) {
  const [level, reason] = state(pool);
  card.className = `pool ${level}`;
  say(at("h2"), pool.pool);
  const other = ({ driver }) => (driver && driver !== pool.kind ? ` on ${driver}` : "");
  const kinds = new Set(pool.info.map((info) => `${info.class}${other(info)}`));
  say(at(".kind"), [pool.kind, ...kinds].join(" "));
  say(at(".state"), reason);
  numbers(at, pool);
  say(at(".span"), draw(at(".trend"), pool));
  facts(at(".facts"), pool);
  findings(at(".findings"), pool.findings);
  held(at(".holders"), holders);
  processes(at(".processes"), pool);
}

function numbers(at, pool) {
  const open = pool.in_use + pool.opening + pool.idle;
  const whole = Math.max(pool.limit ?? pool.in_use_peak, open, 1);
  const parts = [["in-use", pool.in_use], ["opening", pool.opening], ["idle", pool.idle]];
  fill(at(".bar"), parts, whole, `${pool.in_use} of ${count(pool.limit)} connections in use`);
  const said = [
    element("b", { text: `${count(pool.in_use)} of ${count(pool.limit)}` }),
    ` in use, ${count(pool.idle)} idle`,
  ];
  if (pool.opening) said.push(`, ${count(pool.opening)} opening`);
  if (pool.waiting) {
    said.push(", ", element("span", { class: "waiting", text: `${count(pool.waiting)} waiting` }));
  }
  at(".numbers").replaceChildren(...said);
}

function facts(list, pool) {
  const lately = timedOutLately(pool);
  const timedOut = count(pool.timed_out) + (lately ? `, ${count(lately)} in the last minute` : "");
  const entries = [
    ["most in use, last minute", count(pool.in_use_peak)],
    ["oldest hold", age(pool.oldest_hold_seconds), pool.overdue],
    ["oldest wait", age(pool.oldest_wait_seconds), pool.oldest_wait_seconds > 1],
    ["served", count(pool.acquired)],
    ["timed out", timedOut, lately],
    ["overdue", count(pool.overdue), pool.overdue],
    ["abandoned", count(pool.abandoned), pool.abandoned],
    ...pool.servers.map((seen) => [
      `${seen.server} sees`, plural(seen.connections, "connection"), false, true,
    ]),
    ["failed to open", count(pool.open_failed), pool.open_failed],
  ];
  const always = 5;
  list.replaceChildren(
    ...entries
      .filter(([, , bad, wanted], place) => place < always || bad || wanted)
      .map(([name, value, bad]) =>
        element("div", { class: bad ? "bad" : "" },
          element("dt", { text: name }), element("dd", { text: value }))),
  );
}

function findings(list, found) {
  list.replaceChildren(
    ...found.map((finding) =>
      element("li", { class: finding.severity },
        element("b", { text: finding.rule }),
        finding.message,
        ...finding.sites.map((site) => element("code", { text: site })))),
  );
}

function held(details, holders) {
  details.hidden = !holders.length;
  const groups = lines(holders);
  const what = `${plural(holders.length, "connection")} held by ${plural(groups.length, "line")}`;
  say(details.querySelector("summary"), what);
  const rows = groups.slice(0, SHOWN_LINES).map((group) => {
    const leaked = group.overdue || group.abandoned;
    const marks = [
      group.abandoned ? `${group.abandoned} abandoned` : "",
      group.overdue ? `${group.overdue} overdue` : "",
    ].filter(Boolean);
    return element("tr", { class: leaked ? "bad" : "" },
      element("td", {}, element("code", { text: group.site }),
        marks.length ? ` (${marks.join(", ")})` : ""),
      element("td", { class: "number", text: count(group.holders.length) }),
      element("td", { class: "number", text: age(group.oldest) }),
      element("td", { class: "by", text: by(group.holders) }));
  });
  const more = groups.length - SHOWN_LINES;
  if (more > 0) {
    rows.push(element("tr", {}, element("td", { text: `and ${plural(more, "more line")}` })));
  }
  details.querySelector("tbody").replaceChildren(...rows);
}

function by(holders) {
  const named = holders.slice(0, SHOWN_HOLDERS).map((h) => `${h.owner ?? "?"} of ${h.pid}`);
  const more = holders.length - SHOWN_HOLDERS;
  return named.join(", ") + (more > 0 ? `, ${more} more` : "");
}

function processes(details, pool) {
  details.hidden = !pool.processes.length;
  say(details.querySelector("summary"), plural(pool.processes.length, "process", "processes"));
  const used = (process) => process.in_use + process.opening;
  const sorted = [...pool.processes].sort((one, other) => used(other) - used(one));
  details.querySelector("tbody").replaceChildren(
    ...sorted.map((process) => {
      const bar = element("div", { class: "bar" },
        element("i", { class: "in-use" }), element("i", { class: "idle" }));
      const whole = Math.max(process.limit ?? 0, process.in_use + process.idle, 1);
      const said = `${process.in_use} of ${count(process.limit)} connections in use`;
      bar.setAttribute("role", "meter");
      fill(bar, [["in-use", process.in_use], ["idle", process.idle]], whole, said);
      return element("tr", { class: process.waiting ? "bad" : "" },
        element("td", { text: process.pid }),
        element("td", {}, bar),
        element("td", { class: "number", text: `${process.in_use} of ${count(process.limit)}` }),
        element("td", { class: "number", text: process.idle }),
        element("td", { class: "number", text: process.waiting }),
        element("td", { class: "number", text: age(process.oldest_hold_seconds) }));
    }),
  );
}
