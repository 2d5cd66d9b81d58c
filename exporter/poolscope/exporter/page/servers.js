// What database servers and PgBouncers say, beside what their clients believe.

import { age, count, element, fill, say } from "./format.js";

const POSTGRES = ["Application", "Database", "User", "State", "#Connections", "#Longest"];
const PGBOUNCER = ["Database", "User", "#Clients", "#Waiting", "#Servers", "#Oldest wait"];

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
  say(at("h2"), server.server);
  say(at(".kind"), server.kind);
  say(at(".state"), !server.up ? "does not answer" : full ? "full" : "up");
  at(".bar").hidden = at("details").hidden = !server.up;
  say(at(".numbers"), server.up ? words(server, used) : "");
  if (!server.up) return;
  fill(at(".bar"), [["in-use", used], ["idle", 0]], limit, `${used} of ${limit} used`);
  const rows = postgres ? applications(server) : bouncerPools(server);
  say(at("summary"), postgres ? "Connections by application" : "Pools");
  const columns = postgres ? POSTGRES : PGBOUNCER;
  at("thead tr").replaceChildren(...columns.map((name) => cell("th", name, name)));
  at("tbody").replaceChildren(
    ...rows.map((row) => element("tr", {}, ...row.map((v, i) => cell("td", columns[i], v)))),
  );
}

function words(server, used) {
  if (server.kind === "pgbouncer") {
    return `${count(used)} of ${count(server.client_limit)} clients, ${count(server.servers)} connections `
      + `to servers, default_pool_size ${count(server.pool_size)}`;
  }
  const said = `${count(used)} of ${count(server.limit)} connections, ${count(server.reserved)} reserved`;
  return server.promised === null
    ? said
    : `${said}; the pools that connect to it may open ${count(server.promised)}`;
}

function cell(name, column, value) {
  const number = column.startsWith("#");
  const text = name === "th" ? value.replace("#", "") : value;
  return element(name, { class: number ? "number" : "", text });
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function applications(server) {
  return [...server.connections]
    .sort((one, other) => other.count - one.count)
    .map((row) => [
      row.application || "(no name)", row.database, row.user, row.state.replaceAll("_", " "),
      count(row.count), age(row.oldest_seconds),
    ]);
}

function bouncerPools(server) {
  return server.pools.map((pool) => [
    pool.database, pool.user, count(sum(Object.values(pool.clients))),
    count(pool.clients.waiting ?? 0), count(sum(Object.values(pool.servers))),
    age(pool.oldest_wait_seconds),
  ]);
}
