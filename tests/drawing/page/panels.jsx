// One component for each panel type: Grafana's own, if it is published.
import {
  FieldType,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  renderTextPanelMarkdown,
} from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { Heatmap } from './heatmap.jsx';
import { StateTimeline } from './state-timeline.jsx';

/**
 * The content of a panel.
 *
 * props: panel, options, frames, range, timeZone, theme, width, height, replaceVariables.
 */
export function Visualization(props) {
  const { panel, frames, theme } = props;
  if (panel.type !== 'text' && panel.type !== 'stat' && !frames.some(({ length }) => length)) {
    const said = panel.fieldConfig.defaults.noValue || 'No data';
    return <p style={{ textAlign: 'center', color: theme.colors.text.secondary }}>{said}</p>;
  }
  const Panel = COMPONENTS[panel.type];
  return <Panel {...props} />;
}

function TimeSeriesPanel({ frames, options, range, timeZone, width, height }) {
  const graphable = frames.map((frame) => ({ ...frame, fields: frame.fields.map(finite) }));
  return (
    <TimeSeries
      {...{ options, timeZone, width, height, frames: graphable }}
      legend={options.legend}
      timeRange={range}
      structureRev={1}
    />
  );
}

/** Return the field with null, which is a gap in a graph, for values that are not finite. */
const finite = (field) =>
  field.type === FieldType.number
    ? { ...field, values: field.values.map((v) => (Number.isFinite(v) ? v : null)) }
    : field;

function StatPanel(props) {
  const { panel, frames, options, range, timeZone, theme, replaceVariables, ...size } = props;
  const values = getFieldDisplayValues({
    ...{ data: frames, fieldConfig: panel.fieldConfig, reduceOptions: options.reduceOptions },
    ...{ replaceVariables, theme, timeZone, sparkline: options.graphMode !== 'none' },
  });
  const { colorMode, graphMode, justifyMode, textMode, percentChangeColorMode } = options;
  const render = ({ value, ...rest }) => (
    <BigValue
      {...{ ...rest, theme, colorMode, graphMode, justifyMode, textMode, percentChangeColorMode }}
      value={value.display}
      sparkline={value.sparkline && { ...value.sparkline, timeRange: range }}
      disableWideLayout={!options.wideLayout}
    />
  );
  return (
    <VizRepeater
      {...size}
      getValues={() => values}
      renderValue={render}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      renderCounter={1}
      orientation={options.orientation}
      itemSpacing={3}
      autoGrid
    />
  );
}

function TablePanel({ panel, frames, options, range, width, height }) {
  const { showHeader, sortBy, cellHeight, frameIndex } = options;
  return (
    <TableNG
      {...{ width, height, sortBy, cellHeight, data: frames[frameIndex] }}
      timeRange={range}
      noHeader={!showHeader}
      fieldConfig={panel.fieldConfig}
      transparent={panel.transparent}
      structureRev={1}
    />
  );
}

function TextPanel({ options: { mode, content }, replaceVariables }) {
  if (mode !== 'markdown') throw new Error(`not drawn here: a text of mode ${mode}`);
  const html = { __html: renderTextPanelMarkdown(replaceVariables(content)) };
  return <div className="markdown-html" dangerouslySetInnerHTML={html} />;
}

const COMPONENTS = {
  heatmap: Heatmap,
  stat: StatPanel,
  'state-timeline': StateTimeline,
  table: TablePanel,
  text: TextPanel,
  timeseries: TimeSeriesPanel,
};
