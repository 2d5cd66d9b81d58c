// Draws the last minutes of a pool: waiting callers above, connections in use below.

const SVG = "http://www.w3.org/2000/svg";
const VIEW_WIDTH = 600;
const VIEW_HEIGHT = 100;
const WAITING = { top: 2, bottom: 36 };
const IN_USE = { top: 44, bottom: 99 };
const MIN_SPAN_SECONDS = 120; // of the whole width, at least

export function drawTrend(svg, pool) {
  const { seconds_ago: ages, in_use: inUse, waiting } = pool.history;
  const span = Math.max(MIN_SPAN_SECONDS, ages[0] ?? 0);
  const x = (age) => Math.max(0, VIEW_WIDTH * (1 - age / span));
  const most = Math.max(1, pool.limit ?? 0, ...inUse);
  const shapes = [
    ...drawStrip("in-use", IN_USE, ages.map(x), inUse, most),
    ...drawStrip("waiting", WAITING, ages.map(x), waiting, Math.max(1, ...waiting)),
  ];
  if (pool.limit !== null) {
    const at = height(IN_USE, pool.limit, most);
    shapes.push(svgElement("polyline", "limit", `0,${at} ${VIEW_WIDTH},${at}`));
  }
  svg.setAttribute("viewBox", `0 0 ${VIEW_WIDTH} ${VIEW_HEIGHT}`);
  svg.replaceChildren(...shapes);
  return describe(span, inUse, waiting);
}

function describe(span, inUse, waiting) {
  const minutes = Math.max(2, Math.round(span / 60));
  const waited = Math.max(0, ...waiting);
  const used = `last ${minutes} min: at most ${round(Math.max(0, ...inUse))} in use`;
  const queued = waited ? `, ${round(waited)} waiting` : "";
  return `${used}${queued} (5 s averages)`;
}

function round(value) {
  return value < 10 ? Math.round(value * 10) / 10 : Math.round(value);
}

function height({ top, bottom }, value, most) {
  return bottom - (value / most) * (bottom - top);
}

// Each value is drawn from the end of the previous interval to the end of its own.
function drawStrip(name, place, xs, values, most) {
  if (!values.some(Boolean)) return [];
  const points = values.flatMap((value, at) => {
    const y = height(place, value, most);
    return [`${xs[Math.max(0, at - 1)]},${y}`, `${xs[at]},${y}`];
  });
  const area = [`${xs[0]},${place.bottom}`, ...points, `${xs.at(-1)},${place.bottom}`];
  return [
    svgElement("polygon", `area ${name}`, area.join(" ")),
    svgElement("polyline", name, points.join(" ")),
  ];
}

function svgElement(name, className, points) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", className);
  made.setAttribute("points", points);
  return made;
}
