// What this page draws. All else in a dashboard is an error: left out, it would go untested.
export const PANELS = ['heatmap', 'row', 'stat', 'state-timeline', 'table', 'text', 'timeseries'];

const VARIABLES = ['datasource', 'query'];
const TRANSFORMATIONS = ['merge', 'organize'];
const FIELD = ['color', 'decimals', 'links', 'mappings', 'min', 'noValue', 'thresholds', 'unit'];
const KEYS = {
  panel: [
    ...['collapsed', 'datasource', 'description', 'fieldConfig', 'gridPos', 'id', 'links'],
    ...['options', 'panels', 'targets', 'title', 'transformations', 'transparent', 'type'],
  ],
  query: [
    ...['datasource', 'expr', 'format', 'hide', 'instant', 'legendFormat', 'range', 'refId'],
  ],
  variable: [
    ...['allValue', 'datasource', 'definition', 'hide', 'includeAll', 'label', 'multi', 'name'],
    ...['options', 'query', 'refresh', 'sort', 'type'],
  ],
};

const notAmong = (known, found, what) =>
  found.filter((each) => !known.includes(each)).map((each) => `${what} ${each}`);

const only = (unknown) => {
  if (unknown.length) throw new Error(`not drawn here: ${unknown.join(', ')}`);
};

/** Throw an error that names what of a panel this page would leave out. */
export function checkPanel(panel) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const queries = panel.targets ?? [];
  only([
    ...notAmong(PANELS, [panel.type], 'panel type'),
    ...notAmong(KEYS.panel, Object.keys(panel), 'option'),
    ...notAmong(
      TRANSFORMATIONS,
      (panel.transformations ?? []).map(({ id }) => id),
      'transformation',
    ),
    ...notAmong([...FIELD, 'custom'], Object.keys(defaults), 'field option'),
    ...notAmong(
      FIELD,
      overridden.filter((id) => !id.startsWith('custom.')),
      'override',
    ),
    ...queries.flatMap((query) => notAmong(KEYS.query, Object.keys(query), 'query option')),
    ...(panel.panels?.length ? ['panels in a collapsed row'] : []),
  ]);
}

export function checkVariable(variable) {
  only([
    ...notAmong(VARIABLES, [variable.type], 'variable type'),
    ...notAmong(KEYS.variable, Object.keys(variable), 'option of a variable'),
  ]);
}
