// The positions of Grafana's grid.
const COLUMNS = 24;
const CELL_HEIGHT = 30;
const GAP = 8;

/** Return the position and size of a panel, in pixels, in a grid of this width. */
export function pixels({ gridPos: { x, y, w, h } }, width) {
  const column = (width - (COLUMNS - 1) * GAP) / COLUMNS + GAP;
  const line = CELL_HEIGHT + GAP;
  return { left: x * column, top: y * line, width: w * column - GAP, height: h * line - GAP };
}
