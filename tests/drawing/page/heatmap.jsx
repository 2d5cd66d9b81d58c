import { formattedValueToString, getFieldDisplayName, getValueFormat } from '@grafana/data';
import { interpolateOranges } from 'd3-scale-chromatic';
import { numberFields, Plot, timeField } from './plot.jsx';

const SCALE_HEIGHT = 30;

/** Each row is a bucket, which is a column of the query; its label is at its upper edge. */
export function Heatmap({ frames, options, range, timeZone, width, height, theme }) {
  const { calculate, cellGap, color, filterValues, legend, yAxis } = options;
  const unsupported = calculate || yAxis.reverse || color.reverse || !legend.show;
  if (unsupported || color.mode !== 'scheme' || color.scheme !== 'Oranges') {
    throw new Error('not drawn here: a heatmap with other options than ours');
  }
  const rows = frames.flatMap((frame) =>
    numberFields(frame).map((field) => ({
      name: getFieldDisplayName(field, frame, frames),
      ...{ field, time: timeField(frame) },
    })),
  );
  const isVisible = (value) => Number.isFinite(value) && value > filterValues.le;
  const values = rows.flatMap(({ field }) => field.values.filter(isVisible));
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const colorAt = palette(color.steps);

  const paint = ({ ctx, valToPos }) => {
    for (const [i, { field, time }] of rows.entries()) {
      const half = time.config.interval / 2;
      const [bottom, top] = [valToPos(i, 'y', true), valToPos(i + 1, 'y', true)];
      for (const [k, value] of field.values.entries()) {
        if (!isVisible(value)) continue;
        const edges = [time.values[k] - half, time.values[k] + half];
        const [left, right] = edges.map((edge) => valToPos(edge, 'x', true));
        const size = [right - left, bottom - top].map((length) => Math.max(1, length - cellGap));
        ctx.fillStyle = colorAt(most > least ? (value - least) / (most - least) : 1);
        ctx.fillRect(left, top, ...size);
      }
    }
  };
  return (
    <>
      <Plot
        {...{ range, width, theme, timeZone, paint }}
        height={height - SCALE_HEIGHT}
        splits={rows.map((_, i) => i + 1)}
        labels={rows.map(({ name }) => bucketLabel(name, yAxis))}
      />
      {values.length > 0 && <ColorScale {...{ least, most, colorAt, theme }} />}
    </>
  );
}

/** The colour of a share of 0 to 1; on a dark background, Grafana reverses the scheme. */
const palette = (steps) => (share) =>
  interpolateOranges(1 - Math.min(steps - 1, Math.floor(share * steps)) / (steps - 1));

const bucketLabel = (name, { unit, decimals }) =>
  name === '+Inf' ? name : formattedValueToString(getValueFormat(unit)(Number(name), decimals));

function ColorScale({ least, most, colorAt, theme }) {
  const short = (value) => formattedValueToString(getValueFormat('short')(value));
  const stops = Array.from({ length: 9 }, (_, i) => colorAt(i / 8)).join(',');
  const line = { display: 'flex', alignItems: 'center', gap: 6, height: SCALE_HEIGHT };
  const ramp = { width: 200, height: 8, background: `linear-gradient(to right, ${stops})` };
  return (
    <div style={{ ...line, ...theme.typography.bodySmall, color: theme.colors.text.secondary }}>
      {short(least)}
      <span style={ramp} />
      {short(most)}
    </div>
  );
}
