// Numbers and times as people read them, and elements. Text goes in as text, never as markup.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

export function age(seconds) {
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

// null stands for a number without a limit.
export function count(number) {
  return number === null ? "\u221e" : number.toLocaleString("en");
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function share(part, whole) {
  return whole ? Math.min(100, (100 * part) / whole) : 0;
}

export function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  if (options.class) made.className = options.class;
  if (options.text !== undefined) made.textContent = options.text;
  made.append(...children);
  return made;
}

// What did not change stays as it is, so that what was selected or is read aloud does too.
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export function fill(bar, parts, whole, label) {
  for (const [part, piece] of parts) {
    bar.querySelector(`.${part}`).style.width = `${share(piece, whole)}%`;
  }
  bar.setAttribute("aria-valuenow", parts[0][1]);
  bar.setAttribute("aria-valuemax", whole);
  bar.setAttribute("aria-label", label);
}
