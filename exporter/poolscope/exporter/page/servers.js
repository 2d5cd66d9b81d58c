// Cards of PostgreSQL servers and PgBouncers.

import { fillBar, formatAge, formatCount, makeElement, setText } from "./format.js";

const POSTGRES_COLUMNS = ["Application", "Database", "User", "State", "#Connections", "#Oldest"];
const PGBOUNCER_COLUMNS = ["Database", "User", "#Clients", "#Waiting", "#Servers", "#Oldest wait"];

export function make() {
  const card = document.getElementById("server").content.firstElementChild.cloneNode(true);
  return { card, at: (selector) => card.querySelector(selector) };
}

export function update({ card, at }, server) {
  const postgres = server.kind === "postgres";
  const used = postgres ? sum(server.connections.map((row) => row.count)) : server.clients;
  const limit = postgres ? server.limit : server.client_limit;
  const usable = postgres ? limit - server.reserved : limit;
  const full = server.up && used >= usable;
  const level = !server.up || full ? "bad" : used > 0.8 * usable ? "warn" : "";
  card.className = `pool server ${level}`;
  setText(at("h2"), server.server);
  setText(at(".kind"), server.kind);
  setText(at(".state"), !server.up ? "does not answer" : full ? "full" : "up");
  at(".bar").hidden = at("details").hidden = !server.up;
  setText(at(".numbers"), server.up ? describe(server, used) : "");
  if (!server.up) return;
  fillBar(at(".bar"), [["in-use", used], ["idle", 0]], limit, `${used} of ${limit} used`);
  const rows = postgres ? applicationRows(server) : bouncerRows(server);
  setText(at("summary"), postgres ? "Connections by application" : "Pools");
  const columns = postgres ? POSTGRES_COLUMNS : PGBOUNCER_COLUMNS;
  at("thead tr").replaceChildren(...columns.map((name) => makeCell("th", name, name)));
  at("tbody").replaceChildren(
    ...rows.map((row) =>
      makeElement("tr", {}, ...row.map((v, i) => makeCell("td", columns[i], v)))),
  );
}

function describe(server, used) {
  if (server.kind === "pgbouncer") {
    return `${formatCount(used)} of ${formatCount(server.client_limit)} clients, `
      + `${formatCount(server.servers)} connections to servers, `
      + `default_pool_size ${formatCount(server.pool_size)}`;
  }
  const said = `${formatCount(used)} of ${formatCount(server.limit)} connections, `
    + `${formatCount(server.reserved)} reserved`;
  return server.promised === null
    ? said
    : `${said}; the pools that connect to it may open ${formatCount(server.promised)}`;
}

function makeCell(name, column, value) {
  const number = column.startsWith("#");
  const text = name === "th" ? value.replace("#", "") : value;
  return makeElement(name, { class: number ? "number" : "", text });
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function applicationRows(server) {
  return [...server.connections]
    .sort((one, other) => other.count - one.count)
    .map((row) => [
      row.application || "(no name)", row.database, row.user, row.state.replaceAll("_", " "),
      formatCount(row.count), formatAge(row.oldest_seconds),
    ]);
}

function bouncerRows(server) {
  return server.pools.map((pool) => [
    pool.database, pool.user, formatCount(sum(Object.values(pool.clients))),
    formatCount(pool.clients.waiting ?? 0), formatCount(sum(Object.values(pool.servers))),
    formatAge(pool.oldest_wait_seconds),
  ]);
}
