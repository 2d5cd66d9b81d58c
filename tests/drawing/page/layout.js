// The positions of Grafana's grid.
const COLUMNS = 24;
const CELL_HEIGHT = 30;
const GAP = 8;

/**
 * Return the panels as Grafana places them when its closed rows are opened: what follows moves down.
 * Panels in a closed row have the positions that they have when it is the only one that is opened.
 */
export function opened(panels) {
  let pushed = 0;
  const down = (panel) => {
    const { gridPos } = panel;
    return { ...panel, gridPos: { ...gridPos, y: gridPos.y + pushed } };
  };
  return panels.flatMap((panel) => {
    const moved = down(panel);
    if (!panel.collapsed) return [moved];
    const inside = panel.panels.map(down);
    const bottom = Math.max(...inside.map(({ gridPos: { y, h } }) => y + h));
    pushed += bottom - (moved.gridPos.y + 1);
    return [{ ...moved, collapsed: false, panels: [] }, ...inside];
  });
}

/** Return the position and size of a panel, in pixels, in a grid of this width. */
export function pixels({ gridPos: { x, y, w, h } }, width) {
  const column = (width - (COLUMNS - 1) * GAP) / COLUMNS + GAP;
  const line = CELL_HEIGHT + GAP;
  return { left: x * column, top: y * line, width: w * column - GAP, height: h * line - GAP };
}
