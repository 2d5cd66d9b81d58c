// The card of one pool.

import { fillBar, formatAge, formatCount, makeElement, plural, setText } from "./format.js";
import { drawTrend } from "./trend.js";

const BUSY_UTILIZATION = 0.8;
const MAX_LINES = 20;
const MAX_HOLDERS = 3;
const RECENT_SECONDS = 60;

export function make() {
  const card = document.getElementById("pool").content.firstElementChild.cloneNode(true);
  return { card, at: (selector) => card.querySelector(selector) };
}

// From 0 to 1: the utilization of all processes together or of the fullest process, if higher.
export function utilization(pool) {
  const whole = pool.limit ? (pool.in_use + pool.opening) / pool.limit : 0;
  return Math.max(whole, pool.utilization_max);
}

// The peak of the last minute, rounded so that cards do not change places all the time.
export function recentUtilization(pool) {
  const peak = pool.limit ? pool.in_use_peak / pool.limit : 0;
  return Math.round(10 * Math.max(utilization(pool), peak)) / 10;
}

// How holders are grouped: by the line of code that took the connection, or by what it is for.
const GROUPINGS = new Map([
  ["line", { head: "Line", one: "line", of: (holder) => holder.site ?? "unknown line" }],
  ["operation", {
    head: "Operation", one: "operation", of: (holder) => holder.operation ?? "no operation",
  }],
]);

// Groups holders; those whose line or operation is not known form one group.
function groupHolders(holders, grouping) {
  const groups = new Map();
  for (const holder of holders) {
    const name = grouping.of(holder);
    const group = groups.get(name) ?? {
      name, holders: [], oldest: 0, overdue: 0, abandoned: 0, onPurpose: 0, seen: null,
    };
    group.holders.push(holder);
    if (holder.now_at && holder.held_seconds >= (group.seen?.held_seconds ?? 0)) group.seen = holder;
    group.oldest = Math.max(group.oldest, holder.held_seconds);
    group.overdue += holder.overdue;
    group.abandoned += holder.abandoned;
    group.onPurpose += holder.on_purpose;
    groups.set(name, group);
  }
  return [...groups.values()].sort((one, other) => other.oldest - one.oldest);
}

function recentTimeouts({ history }) {
  return history.timed_out.reduce(
    (sum, number, at) => (history.seconds_ago[at] <= RECENT_SECONDS ? sum + number : sum), 0);
}

// Returns the level of the card, and the reason in a few words.
function assess(pool) {
  const full = utilization(pool);
  if (!pool.live) return ["gone", "gone; its counters are kept"];
  if (pool.waiting && full >= 1) return ["bad", `full, ${formatCount(pool.waiting)} waiting`];
  if (pool.abandoned) return ["bad", `${formatCount(pool.abandoned)} abandoned`];
  if (pool.overdue) return ["warn", `${formatCount(pool.overdue)} overdue`];
  if (pool.waiting) return ["warn", `${formatCount(pool.waiting)} waiting`];
  if (full >= 1) {
    const whole = pool.limit && pool.in_use + pool.opening >= pool.limit;
    return ["warn", whole ? "full" : "one process is full"];
  }
  const timedOut = recentTimeouts(pool);
  if (timedOut) return ["warn", `${formatCount(timedOut)} timed out in the last minute`];
  if (full >= BUSY_UTILIZATION) return ["warn", `${Math.floor(100 * full)}% in use`];
  const serious = pool.findings.filter((finding) => finding.severity !== "info").length;
  if (serious) return ["warn", plural(serious, "finding")];
  return ["", "OK"];
}

export function update({ card, at }, pool, holders, grouping) {
  const [level, reason] = assess(pool);
  card.className = `pool ${level}`;
  setText(at("h2"), pool.pool);
  const other = ({ driver }) => (driver && driver !== pool.kind ? ` on ${driver}` : "");
  const kinds = new Set(pool.info.map((info) => `${info.class}${other(info)}`));
  setText(at(".kind"), [pool.kind, ...kinds].join(" "));
  setText(at(".state"), reason);
  showNumbers(at, pool);
  setText(at(".span"), drawTrend(at(".trend"), pool));
  showFacts(at(".facts"), pool);
  showFindings(at(".findings"), pool.findings);
  showHolders(at(".holders"), holders, GROUPINGS.get(grouping));
  showProcesses(at(".processes"), pool);
}

function showNumbers(at, pool) {
  const open = pool.in_use + pool.opening + pool.idle;
  const whole = Math.max(pool.limit ?? pool.in_use_peak, open, 1);
  const parts = [["in-use", pool.in_use], ["opening", pool.opening], ["idle", pool.idle]];
  const label = `${pool.in_use} of ${formatCount(pool.limit)} connections in use`;
  fillBar(at(".bar"), parts, whole, label);
  const said = [
    makeElement("b", { text: `${formatCount(pool.in_use)} of ${formatCount(pool.limit)}` }),
    ` in use, ${formatCount(pool.idle)} idle`,
  ];
  if (pool.opening) said.push(`, ${formatCount(pool.opening)} opening`);
  if (pool.waiting) {
    const text = `${formatCount(pool.waiting)} waiting`;
    said.push(", ", makeElement("span", { class: "waiting", text }));
  }
  at(".numbers").replaceChildren(...said);
}

function showFacts(list, pool) {
  const recent = recentTimeouts(pool);
  const timedOut = formatCount(pool.timed_out)
    + (recent ? `, ${formatCount(recent)} in the last minute` : "");
  const entries = [
    ["peak in use, last minute", formatCount(pool.in_use_peak)],
    ["oldest hold", formatAge(pool.oldest_hold_seconds), pool.overdue],
    ["oldest wait", formatAge(pool.oldest_wait_seconds), pool.oldest_wait_seconds > 1],
    ["acquired", formatCount(pool.acquired)],
    ["timed out", timedOut, recent],
    ["overdue", formatCount(pool.overdue), pool.overdue],
    ["abandoned", formatCount(pool.abandoned), pool.abandoned],
    ...pool.servers.map((seen) => [
      `${seen.server} sees`, plural(seen.connections, "connection"), false, true,
    ]),
    ["gave up waiting", formatCount(pool.gave_up), false, pool.gave_up],
    ["failed to connect", formatCount(pool.open_failed), pool.open_failed],
  ];
  const always = 5;
  list.replaceChildren(
    ...entries
      .filter(([, , bad, wanted], place) => place < always || bad || wanted)
      .map(([name, value, bad]) =>
        makeElement("div", { class: bad ? "bad" : "" },
          makeElement("dt", { text: name }), makeElement("dd", { text: value }))),
  );
}

function showFindings(list, found) {
  list.replaceChildren(
    ...found.map((finding) =>
      makeElement("li", { class: finding.severity },
        makeElement("b", { text: finding.rule }),
        finding.message,
        ...finding.sites.map((site) => makeElement("code", { text: site })))),
  );
}

function showHolders(details, holders, grouping) {
  details.hidden = !holders.length;
  const groups = groupHolders(holders, grouping);
  const by = plural(groups.length, grouping.one);
  const what = `${plural(holders.length, "connection")} held by ${by}`;
  setText(details.querySelector(".group"), grouping.head);
  setText(details.querySelector("summary"), what);
  const rows = groups.slice(0, MAX_LINES).map((group) => {
    const leaked = group.overdue || group.abandoned;
    const marks = [
      group.abandoned ? `${group.abandoned} abandoned` : "",
      group.overdue ? `${group.overdue} overdue` : "",
      group.onPurpose ? `${group.onPurpose} on purpose` : "",
    ].filter(Boolean);
    return makeElement("tr", { class: leaked ? "bad" : "" },
      makeElement("td", {}, makeElement("code", { text: group.name }),
        marks.length ? ` (${marks.join(", ")})` : "", ...whereSeen(group.seen)),
      makeElement("td", { class: "number", text: formatCount(group.holders.length) }),
      makeElement("td", { class: "number", text: formatAge(group.oldest) }),
      makeElement("td", { class: "by", text: nameHolders(group.holders) }));
  });
  const more = groups.length - MAX_LINES;
  if (more > 0) {
    rows.push(makeElement("tr", {}, makeElement("td", { text: `and ${plural(more, `more ${grouping.one}`)}` })));
  }
  details.querySelector("tbody").replaceChildren(...rows);
}

// Where the process that has the oldest of these holders last found it.
function whereSeen(holder) {
  if (!holder) return [];
  const place = makeElement("code", { text: holder.now_at });
  return [makeElement("div", { class: "seen" }, "last seen at ", place)];
}

function nameHolders(holders) {
  const named = holders.slice(0, MAX_HOLDERS).map((h) => `${h.owner ?? "?"} of ${h.pid}`);
  const more = holders.length - MAX_HOLDERS;
  return named.join(", ") + (more > 0 ? `, ${more} more` : "");
}

function showProcesses(details, pool) {
  details.hidden = !pool.processes.length;
  setText(details.querySelector("summary"), plural(pool.processes.length, "process", "processes"));
  const taken = (process) => process.in_use + process.opening;
  const sorted = [...pool.processes].sort((one, other) => taken(other) - taken(one));
  details.querySelector("tbody").replaceChildren(
    ...sorted.map((process) => {
      const bar = makeElement("div", { class: "bar" },
        makeElement("i", { class: "in-use" }), makeElement("i", { class: "idle" }));
      const whole = Math.max(process.limit ?? 0, process.in_use + process.idle, 1);
      const used = `${process.in_use} of ${formatCount(process.limit)}`;
      bar.setAttribute("role", "meter");
      const parts = [["in-use", process.in_use], ["idle", process.idle]];
      fillBar(bar, parts, whole, `${used} connections in use`);
      return makeElement("tr", { class: process.waiting ? "bad" : "" },
        makeElement("td", { text: process.pid }),
        makeElement("td", {}, bar),
        makeElement("td", { class: "number", text: used }),
        makeElement("td", { class: "number", text: process.idle }),
        makeElement("td", { class: "number", text: process.waiting }),
        makeElement("td", { class: "number", text: formatAge(process.oldest_hold_seconds) }));
    }),
  );
}
