// Queries: the API of Prometheus, Grafana's intervals, and results as Grafana's data frames.
import { FieldType, rangeUtil, toDataFrame } from '@grafana/data';

// draw.py forwards api/ to Prometheus.
async function ask(path, parameters) {
  const form = new URLSearchParams(parameters);
  const { status, data, error } = await (await fetch(`api/v1/${path}?${form}`)).json();
  if (status !== 'success') throw new Error(error ?? 'Prometheus has not answered');
  return data;
}

const seconds = (ms) => String(ms / 1000);

export const labelValues = (label, selector, { from, to }) =>
  ask(`label/${label}/values`, { start: seconds(from), end: seconds(to), 'match[]': selector });

/**
 * Return the step of a query, one point per pixel (or as many as the panel asks for) but not shorter
 * than a scrape interval, and Grafana's own variables: `$__rate_interval` is four scrape intervals,
 * or a step and one interval if that is longer.
 */
function intervals(range, points, scrapeInterval) {
  const least = `${scrapeInterval}ms`;
  const step = rangeUtil.calculateInterval(range, Math.floor(points), least).intervalMs;
  const rate = Math.max(step + scrapeInterval, 4 * scrapeInterval);
  const builtIns = { __rate_interval: `${rate}ms`, __interval: `${step}ms` };
  return { step, builtIns: { ...builtIns, __range: `${range.to - range.from}ms` } };
}

/**
 * Run the queries of a panel. Return the frames, and { refId, expr, series, error } of each query.
 * The others run even if one fails.
 */
export async function runQueries(panel, { range, width, scrapeInterval, interpolate }) {
  const { step, builtIns } = intervals(range, panel.maxDataPoints ?? width, scrapeInterval);
  const targets = (panel.targets ?? []).filter(({ hide }) => !hide);
  const results = await Promise.all(
    targets.map(async (target) => {
      const expr = interpolate(target.expr, { builtIns, format: 'promql' });
      const query = { refId: target.refId, expr, series: 0 };
      try {
        const series = seriesOf(await answer(target, expr, range, step));
        query.series = series.length;
        return { query, frames: series.length ? FRAMES[target.format](series, target, step) : [] };
      } catch (error) {
        query.error = error.message;
        return { query, frames: [] };
      }
    }),
  );
  const tables = results.filter(({ frames }) => frames[0]?.meta?.isTable);
  if (tables.length > 1) {
    for (const { frames } of tables) frames[0].fields.at(-1).name += ` #${frames[0].refId}`;
  }
  return {
    frames: results.flatMap(({ frames }) => frames),
    queries: results.map(({ query }) => query),
  };
}

function answer({ instant }, query, { from, to }, step) {
  if (instant) return ask('query', { query, time: seconds(to) });
  const aligned = (time) => seconds(Math.floor(time / step) * step);
  const span = { start: aligned(from), end: aligned(to), step: seconds(step) };
  return ask('query_range', { query, ...span });
}

function seriesOf({ resultType, result }) {
  if (resultType === 'scalar') result = [{ metric: {}, value: result }];
  return result.map(({ metric, value, values = [value] }) => ({
    labels: metric,
    times: values.map(([time]) => time * 1000),
    values: values.map(([, text]) => number(text)),
  }));
}

const number = (text) => ({ '+Inf': Infinity, '-Inf': -Infinity })[text] ?? Number(text);

const legend = ({ legendFormat }, labels) =>
  legendFormat.replace(/\{\{\s*([^}]+?)\s*\}\}/g, (_, label) => labels[label] ?? '');

const timeField = (values, interval) => ({
  ...{ name: 'Time', type: FieldType.time, config: { interval } },
  values,
});

// By the format of a query: how its series become frames.
const FRAMES = {
  time_series: (series, target, step) =>
    series.map(({ labels, times, values }) => {
      const name = legend(target, labels);
      const config = { displayNameFromDS: name };
      const fields = [
        timeField(times, step),
        { name: 'Value', type: FieldType.number, labels, config, values },
      ];
      return toDataFrame({ refId: target.refId, name, fields });
    }),

  // One row for each sample, one column for each label.
  table: (series, target) => {
    const rows = series.flatMap(({ labels, times, values }) =>
      times.map((time, i) => ({ labels, time, value: values[i] })),
    );
    const labels = [...new Set(series.flatMap((each) => Object.keys(each.labels).sort()))];
    const fields = [
      timeField(rows.map(({ time }) => time)),
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: rows.map((row) => row.labels[label] ?? ''),
      })),
      { name: 'Value', type: FieldType.number, values: rows.map(({ value }) => value) },
    ];
    return [{ ...toDataFrame({ refId: target.refId, fields }), meta: { isTable: true } }];
  },

  // One column for each bucket. Prometheus counts cumulatively, so the bucket below is subtracted.
  heatmap: (series, target, step) => {
    const buckets = series.toSorted((a, b) => number(a.labels.le) - number(b.labels.le));
    const times = [...new Set(series.flatMap((each) => each.times))].sort((a, b) => a - b);
    const counts = buckets.map((bucket) => {
      const at = new Map(bucket.times.map((time, i) => [time, bucket.values[i]]));
      return times.map((time) => at.get(time) ?? null);
    });
    const own = (row) => (count, i) =>
      count === null || !row ? count : Math.max(0, count - (counts[row - 1][i] ?? 0));
    const fields = [
      timeField(times, step),
      ...buckets.map(({ labels }, row) => ({
        ...{ name: labels.le, type: FieldType.number, labels },
        config: { displayNameFromDS: legend(target, labels) },
        values: counts[row].map(own(row)),
      })),
    ];
    return [toDataFrame({ refId: target.refId, fields })];
  },
};
