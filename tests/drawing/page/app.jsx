// The page runs all queries, draws the dashboard, and has the result in window.drawing.
import { createTheme, dateTime, locationUtil, ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, Icon, PanelChrome } from '@grafana/ui';
import { Component } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { prepareFrames, withDefaults } from './fields.js';
import { checkPanel } from './known.js';
import { opened, pixels } from './layout.js';
import { Visualization } from './panels.jsx';
import { runQueries } from './query.js';
import { resolveVariables } from './variables.js';

const MARGIN = 16;

/** The report for draw.py. panels: type, title, queries, and the problem or null. */
const report = { problems: [], panels: [] };
window.drawing = { finish };
const elements = new Map(); // the content of each panel, by its entry in the report
const fail = (message) => report.problems.push(message);

async function main() {
  const { dashboard, chosen, now, minutes, scrapeInterval, width, openRows } = await (
    await fetch('input.json')
  ).json();
  if (openRows) dashboard.panels = opened(dashboard.panels);
  const theme = createTheme({ colors: { mode: 'dark' } });
  const range = { from: now - minutes * 60_000, to: now };
  await initPluginTranslations('grafana');
  locationUtil.initialize({
    config: { appSubUrl: '' },
    getTimeRangeForUrl: () => range,
    getVariablesUrlParams: () => ({}),
  });
  const variables = await resolveVariables(dashboard, { chosen, range, fail });
  const context = { variables, range, theme, timeZone: dashboard.timezone, scrapeInterval };
  const items = await Promise.all(
    dashboard.panels.map((panel) => {
      const box = pixels(panel, width - 2 * MARGIN);
      return load(panel, box, context);
    }),
  );
  const entries = items.map(({ entry }) => entry);
  report.panels = entries.filter(({ type, problem }) => type !== 'row' || problem);

  const onCaughtError = () => {}; // PanelBoundary reports the error
  const root = createRoot(document.getElementById('root'), { onCaughtError });
  const draw = (content) =>
    flushSync(() =>
      root.render(
        <ThemeContext.Provider value={theme}>
          <GlobalStyles />
          {content}
        </ThemeContext.Provider>,
      ),
    );
  draw(null);
  // GlobalStyles declares the fonts. A canvas does not wait until they are loaded.
  await Promise.all(['400 12px Inter', '500 12px Inter'].map((font) => document.fonts.load(font)));
  draw(<Dashboard {...{ dashboard, items, context, minutes }} />);
}

/** Run the queries of a panel. Return its data for drawing, and its entry in the report. */
async function load(original, box, { variables, range, theme, timeZone, scrapeInterval }) {
  const replaceVariables = (text, scopedVars) =>
    variables.interpolate(text, { dataContext: scopedVars?.__dataContext?.value });
  const panel = withDefaults(original);
  const title = replaceVariables(panel.title ?? '');
  const entry = { type: panel.type, title, queries: [], problem: null };
  const item = { panel, box, entry, frames: [], replaceVariables };
  try {
    checkPanel(original);
    if (panel.type === 'row' || panel.type === 'text') return item;
    const interpolate = (text, options) => variables.interpolate(text, options);
    const request = { range, width: box.width, scrapeInterval, interpolate };
    const { frames, queries } = await runQueries(panel, request);
    entry.queries = queries;
    const failed = queries.find(({ error }) => error);
    if (failed) throw new Error(`query ${failed.refId}: ${failed.error}`);
    item.frames = await prepareFrames(frames, panel, { theme, timeZone, replaceVariables });
    const numbers = item.frames.flatMap(({ fields }) =>
      fields.filter(({ type }) => type === 'number').flatMap(({ values }) => values),
    );
    if (!numbers.length) entry.problem = 'no data';
    else if (numbers.every((value) => value === null || Number.isNaN(value))) {
      entry.problem = 'only NaN';
    }
  } catch (error) {
    entry.problem = error.message;
    item.failed = true;
  }
  return item;
}

function Dashboard({ dashboard, items, context, minutes }) {
  const height = Math.max(...items.map(({ box }) => box.top + box.height));
  return (
    <main style={{ padding: MARGIN }}>
      <Header {...{ dashboard, context, minutes }} />
      <div style={{ position: 'relative', height }}>
        {items.map((item, i) => (
          <div key={i} style={{ position: 'absolute', ...item.box }}>
            {item.panel.type === 'row' ? <Row {...item} /> : <Panel {...{ item, context }} />}
          </div>
        ))}
      </div>
    </main>
  );
}

function Header({ dashboard, context: { theme, variables }, minutes }) {
  const { colors, shape, typography } = theme;
  const line = { display: 'flex', flexWrap: 'wrap', gap: 8, alignItems: 'center' };
  const box = {
    ...{ ...line, display: 'inline-flex', gap: 4, height: 32, padding: '0 8px' },
    ...{ border: `1px solid ${colors.border.weak}`, borderRadius: shape.radius.default },
  };
  const filled = { ...box, background: colors.background.secondary };
  return (
    <header style={{ ...line, ...typography.bodySmall, marginBottom: MARGIN }}>
      <div style={{ ...line, flexBasis: '100%', justifyContent: 'space-between' }}>
        <h1 style={{ ...typography.h4, margin: 0 }}>{dashboard.title}</h1>
        <span style={filled}>
          <Icon name="clock-nine" /> Last {minutes} minutes
        </span>
      </div>
      {variables.visible().map(({ label, text }) => (
        <span key={label} style={{ display: 'inline-flex' }}>
          <span style={filled}>{label}</span>
          <span style={box}>
            {text} <Icon name="angle-down" />
          </span>
        </span>
      ))}
      <span style={{ flexGrow: 1 }} />
      {dashboard.links.map(({ title }) => (
        <span key={title} style={filled}>
          <Icon name="external-link-alt" /> {title}
        </span>
      ))}
    </header>
  );
}

const Row = ({ entry: { title }, panel: { collapsed, panels } }) => (
  <h2 style={{ fontSize: 16, fontWeight: 500, margin: 0, lineHeight: '30px' }}>
    <Icon name={collapsed ? 'angle-right' : 'angle-down'} /> {title}{' '}
    {collapsed && <small style={{ opacity: 0.6 }}>({panels.length} panels)</small>}
  </h2>
);

function Panel({ item, context: { range, theme, timeZone } }) {
  const { panel, frames, entry, box, failed, replaceVariables } = item;
  const times = { from: dateTime(range.from), to: dateTime(range.to) };
  const common = { panel, frames, theme, timeZone, replaceVariables, options: panel.options };
  return (
    <PanelChrome
      title={entry.title}
      description={panel.description && replaceVariables(panel.description)}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      statusMessage={failed ? entry.problem : undefined}
      width={box.width}
      height={box.height}
    >
      {(width, height) => (
        <div ref={(element) => void elements.set(entry, element)} style={{ width, height }}>
          <PanelBoundary entry={entry}>
            {failed ? (
              <Failure message={entry.problem} />
            ) : (
              <Visualization {...{ ...common, width, height }} range={{ ...times, raw: times }} />
            )}
          </PanelBoundary>
        </div>
      )}
    </PanelChrome>
  );
}

/** Catches the error of a panel that fails while it is drawn, so that the others are drawn. */
class PanelBoundary extends Component {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    this.props.entry.problem = error.message;
  }

  render() {
    const { error } = this.state;
    return error ? <Failure message={error.message} /> : this.props.children;
  }
}

const Failure = ({ message }) => <p style={{ whiteSpace: 'pre-wrap' }}>{message}</p>;

/** Return the report, after a check that each panel has drawn something; called at the end. */
function finish() {
  for (const entry of report.panels) {
    const element = elements.get(entry);
    if (!entry.problem && !(element && HAS_CONTENT[entry.type](element))) {
      entry.problem = 'nothing is drawn';
    }
  }
  return report;
}

const hasText = (element) => element.innerText.trim() !== '';
const hasGraph = (element) => [...element.querySelectorAll('canvas')].some(isPainted);
const isPainted = (canvas) =>
  canvas.width > 0 &&
  canvas.height > 0 &&
  canvas
    .getContext('2d')
    .getImageData(0, 0, canvas.width, canvas.height)
    .data.some((byte) => byte > 0);

const HAS_CONTENT = {
  heatmap: hasGraph,
  stat: hasText,
  'state-timeline': hasGraph,
  // The first row is the header.
  table: (element) => element.querySelectorAll('[role="row"]').length > 1,
  text: hasText,
  timeseries: hasGraph,
};

main()
  .catch((error) => fail(error.stack))
  .finally(() => document.body.classList.add('done'));
