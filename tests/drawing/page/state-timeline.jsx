import { applyNullInsertThreshold, colorManipulator, getFieldDisplayName } from '@grafana/data';
import { numberFields, Plot, timeField } from './plot.jsx';

/** Draws one row for each series; a value lasts until the next sample. */
export function StateTimeline({ frames, options, range, timeZone, width, height, theme }) {
  const { legend, mergeValues, rowHeight, showValue } = options;
  if (legend.showLegend || mergeValues || showValue !== 'never') {
    throw new Error('not drawn here: a state timeline with other options than ours');
  }
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const span = { refFieldPseudoMin: from, refFieldPseudoMax: to };
  const rows = frames.flatMap((original) => {
    const frame = applyNullInsertThreshold({ frame: original, ...span });
    return numberFields(frame).map((field) => ({
      name: getFieldDisplayName(field, original, frames),
      ...{ field, times: timeField(frame).values },
    }));
  });
  rows.reverse(); // the first series is at the top

  const paint = ({ ctx, valToPos }) => {
    for (const [i, { field, times }] of rows.entries()) {
      const middle = valToPos(i + 0.5, 'y', true);
      const thickness = (valToPos(i, 'y', true) - valToPos(i + 1, 'y', true)) * rowHeight;
      for (const [k, value] of field.values.entries()) {
        if (value === null || value === undefined) continue; // a gap ends the value before it
        const ends = [times[k], times[k + 1] ?? to];
        const [left, right] = ends.map((time) => Math.round(valToPos(time, 'x', true)));
        const { color } = field.display(value);
        ctx.fillStyle = colorManipulator.alpha(color, field.config.custom.fillOpacity / 100);
        ctx.fillRect(left, middle - thickness / 2, right - left, thickness);
      }
    }
  };
  return (
    <Plot
      {...{ range, width, height, theme, timeZone, paint }}
      splits={rows.map((_, i) => i + 0.5)}
      labels={rows.map(({ name }) => name)}
    />
  );
}
