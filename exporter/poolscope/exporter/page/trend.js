// The last minutes of a pool, in two strips: callers waiting above, connections in use below.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 100;
const WAITING = { top: 2, bottom: 36 };
const IN_USE = { top: 44, bottom: 99 };
const SHORTEST = 120; // seconds that the whole width stands for, at least

export function draw(svg, pool) {
  const { seconds_ago: ages, in_use: inUse, waiting } = pool.history;
  const span = Math.max(SHORTEST, ages[0] ?? 0);
  const x = (age) => Math.max(0, WIDTH * (1 - age / span));
  const most = Math.max(1, pool.limit ?? 0, ...inUse);
  const shapes = [
    ...strip("in-use", IN_USE, ages.map(x), inUse, most),
    ...strip("waiting", WAITING, ages.map(x), waiting, Math.max(1, ...waiting)),
  ];
  if (pool.limit !== null) {
    const at = height(IN_USE, pool.limit, most);
    shapes.push(shape("polyline", "limit", `0,${at} ${WIDTH},${at}`));
  }
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.replaceChildren(...shapes);
  return words(span, inUse, waiting);
}

function words(span, inUse, waiting) {
  const minutes = Math.max(2, Math.round(span / 60));
  const waited = Math.max(0, ...waiting);
  const used = `${minutes} min: at most ${round(Math.max(0, ...inUse))} in use`;
  return waited ? `${used}, ${round(waited)} waiting (means of about 5 s)` : `${used} (means of about 5 s)`;
}

function round(value) {
  return value < 10 ? Math.round(value * 10) / 10 : Math.round(value);
}

function height({ top, bottom }, value, most) {
  return bottom - (value / most) * (bottom - top);
}

// Each value lasts from the end of the interval before to the end of its own.
function strip(name, place, xs, values, most) {
  if (!values.some(Boolean)) return [];
  const points = values.flatMap((value, at) => {
    const y = height(place, value, most);
    return [`${xs[Math.max(0, at - 1)]},${y}`, `${xs[at]},${y}`];
  });
  const area = [`${xs[0]},${place.bottom}`, ...points, `${xs.at(-1)},${place.bottom}`];
  return [
    shape("polygon", `area ${name}`, area.join(" ")),
    shape("polyline", name, points.join(" ")),
  ];
}

function shape(name, className, points) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", className);
  made.setAttribute("points", points);
  return made;
}
