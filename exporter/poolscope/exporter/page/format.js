// Formats numbers and times, and makes elements. Text is inserted as text, never as markup.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

export function formatAge(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [size, name] of UNITS) {
    if (rest >= size && parts.length < 2) parts.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  if (parts.length < 2 && rest > 0 && seconds < 3600) parts.push(`${rest} s`);
  return parts.join(" ");
}

// null is a limit that does not exist.
export function formatCount(number) {
  return number === null ? "\u221e" : number.toLocaleString("en");
}

export function plural(number, one, many = `${one}s`) {
  return `${formatCount(number)} ${number === 1 ? one : many}`;
}

const collator = new Intl.Collator("en", { numeric: true });

// As people sort names, 2 before 10; names that look the same have an order as well.
export function compareTexts(one, other) {
  return collator.compare(one, other) || (one < other ? -1 : one > other ? 1 : 0);
}

export function percentage(part, whole) {
  return whole ? Math.min(100, (100 * part) / whole) : 0;
}

export function makeElement(name, options = {}, ...children) {
  const made = document.createElement(name);
  if (options.class) made.className = options.class;
  if (options.text !== undefined) made.textContent = options.text;
  made.append(...children);
  return made;
}

// Leaves unchanged text alone, so that a selection stays and screen readers do not repeat it.
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export function fillBar(bar, parts, whole, label) {
  for (const [part, piece] of parts) {
    bar.querySelector(`.${part}`).style.width = `${percentage(piece, whole)}%`;
  }
  bar.setAttribute("aria-valuenow", parts[0][1]);
  bar.setAttribute("aria-valuemax", whole);
  bar.setAttribute("aria-label", label);
}
