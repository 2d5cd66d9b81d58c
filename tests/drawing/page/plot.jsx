// For panel types whose code Grafana does not publish. Ours read the same options and look alike.
import { FieldType } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import { useMemo } from 'react';

export const timeField = (frame) => frame.fields.find(({ type }) => type === FieldType.time);

export const numberFields = (frame) => frame.fields.filter(({ type }) => type === FieldType.number);

const X = { orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right };
const Y = { orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up };

/**
 * Grafana's axes: time, and a row for each label, at the positions in `splits`. `paint` draws
 * between them, with `valToPos(value, 'x' or 'y', true)`.
 */
export function Plot({ range, splits, labels, width, height, theme, timeZone, paint }) {
  const span = [range.from.valueOf(), range.to.valueOf()];
  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder(timeZone);
    const common = { theme, timeZone, grid: { show: false } };
    builder.addScale({ scaleKey: 'x', isTime: true, range: span, ...X });
    builder.addScale({ scaleKey: 'y', range: [0, labels.length], ...Y });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, ...common });
    const rows = { splits, values: labels, ticks: { show: false } };
    builder.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, ...rows, ...common });
    const nothing = { pathBuilder: () => null, pointsBuilder: () => false };
    builder.addSeries({ scaleKey: 'y', theme, ...nothing });
    builder.addHook('draw', ({ ctx, bbox, valToPos }) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      paint({ ctx, valToPos });
      ctx.restore();
    });
    return builder;
  }, [width, height]);
  return <UPlotChart {...{ width, height, config }} data={[span, [null, null]]} />;
}
